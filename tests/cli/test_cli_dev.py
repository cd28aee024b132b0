"""`dev`: files change under a job that runs; new jobs get the new code."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from vsdk_trio.registry.core import Registry
from vsdk_trio.registry.server import open_registry

from .conftest import RunningCli, open_cli, run_cli

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("unmeasured")]

AGENT = """
import trio
from helper import VERSION
from vsdk_trio import Options, WorkerJob

async def entrypoint(ctx):
    await ctx.connect()
    print(VERSION, "begins", flush=True)
    await trio.sleep(ctx.metadata.get("seconds", 0))
    print(VERSION, "ends", flush=True)

WorkerJob(entrypoint, options=Options(agent_id="d", max_processes=3)).start()
"""


@asynccontextmanager
async def open_dev(directory: Path, *args: str) -> AsyncGenerator[tuple[RunningCli, str]]:
    (directory / "agent.py").write_text(AGENT)
    (directory / "helper.py").write_text("VERSION = 'one'\n")
    ports = ("--port", "0", "--registry-port", "0")
    async with open_cli("dev", "agent.py", *ports, *args, cwd=directory) as dev:
        await dev.read_until("watching ")
        found = re.search(r"http://127\.0\.0\.1:\d+", dev.text)
        assert found is not None, dev.text
        yield dev, found[0]


async def change(dev: RunningCli, path: Path, text: str) -> None:
    """Change a file until that is noticed: the watch begins a moment after it is announced."""
    dev.text = ""
    for _ in range(10):
        await trio.Path(path).write_text(text)
        with trio.move_on_after(3):
            await dev.read_until("changed: ")
            return
    raise AssertionError(f"nobody notices that {path.name} changes")


async def dispatch(url: str, **metadata: object) -> str:
    args = ("dispatch", "d", "--json", "--metadata", json.dumps(metadata), "--registry", url)
    done = await run_cli(*args)
    assert done.code == 0, done
    return str(json.loads(done.out)["data"]["jobId"])


@pytest.mark.slow
async def test_a_file_changes_while_a_job_runs(tmp_path: Path) -> None:
    async with open_dev(tmp_path) as (dev, url):
        await dispatch(url, seconds=6)
        await dev.read_until("one begins")
        await change(dev, tmp_path / "helper.py", "VERSION = 'two'\n")
        await dev.read_until("new jobs get the new code; 1 running finish on the old code")
        assert "changed: helper.py" in dev.text
        await dispatch(url)
        await dev.read_until("two ends")
        await dev.read_until("one ends")

        await change(dev, tmp_path / "helper.py", "VERSION = (\n")
        await dev.read_until("'(' was never closed")
        await dispatch(url)  # an idle process is still there
        await change(dev, tmp_path / "helper.py", "VERSION = 'three'\n")
        await dev.read_until("new jobs get the new code")
        await dispatch(url)
        await dev.read_until("three ends")

        await change(
            dev, tmp_path / "agent.py", AGENT.replace("max_processes=3", "max_processes=4")
        )
        await dev.read_until("Options.max_processes changed: ")
        dev.process.send_signal(signal.SIGINT)
        assert await dev.end() == 0
        assert "Traceback (most recent call last):\n  +" not in dev.text


@pytest.mark.slow
async def test_a_directory_is_watched_for_files_of_every_kind(tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    async with open_dev(tmp_path, "--watch", "prompts") as (dev, _):
        (tmp_path / "notes.txt").write_text("of no interest")
        await change(dev, tmp_path / "prompts" / "hello.txt", "Say hello.")
        await dev.read_until("new jobs get the new code")
        assert "hello.txt" in dev.text
        assert "notes.txt" not in dev.text
        dev.process.send_signal(signal.SIGTERM)
        assert await dev.end() == 0


async def test_a_registry_that_is_there_already(tmp_path: Path) -> None:
    async with open_registry(Registry(auth_token="s3cret")) as running:
        (tmp_path / "agent.py").write_text(AGENT)
        (tmp_path / "helper.py").write_text("VERSION = 'one'\n")
        env = {"VIDEOSDK_AUTH_TOKEN": "s3cret"}
        args = ("dev", "agent.py", "--port", "0", "--registry", running.url)
        async with open_cli(*args, cwd=tmp_path, env=env) as dev:
            await dev.read_until("serving 'd'")
            assert [worker.agent_id for worker in running.registry.workers()] == ["d"]
            dev.process.send_signal(signal.SIGINT)
            assert await dev.end() == 0


async def test_a_port_that_is_taken_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(AGENT)
    (tmp_path / "helper.py").write_text("VERSION = 'one'\n")
    async with open_registry(Registry()) as running:
        port = running.url.rpartition(":")[2]
        done = await run_cli("dev", "agent.py", "--registry-port", port, cwd=tmp_path)
    assert done.code == 1
    assert f"or name the registry that is there: --registry http://127.0.0.1:{port}" in done.err
    assert "Traceback" not in done.err


async def test_interrupted_before_it_is_registered(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(AGENT)
    (tmp_path / "helper.py").write_text("VERSION = 'one'\n")
    env = {"VIDEOSDK_AUTH_TOKEN": "local"}
    args = ("dev", "agent.py", "--port", "0", "--registry", "http://127.0.0.1:1")
    async with open_cli(*args, cwd=tmp_path, env=env) as dev:
        await dev.read_until("dashboard at")
        dev.process.send_signal(signal.SIGINT)
        assert await dev.end() == 0
    assert "Traceback" not in dev.text


async def test_a_registry_that_stays_away(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(AGENT)
    (tmp_path / "helper.py").write_text("VERSION = 'one'\n")
    env = {"VIDEOSDK_AUTH_TOKEN": "local"}
    url = ("--registry", "http://127.0.0.1:1", "--max-retry", "0")
    done = await run_cli("dev", "agent.py", "--port", "0", *url, cwd=tmp_path, env=env)
    assert done.code == 4
    assert "the registry could not be reached" in done.err
    assert "Traceback" not in done.err
