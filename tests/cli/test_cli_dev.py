"""`dev`: files change under a job that runs; new jobs get the new code."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import AsyncGenerator, Mapping
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
async def open_dev(
    directory: Path, *args: str, env: Mapping[str, str] | None = None
) -> AsyncGenerator[tuple[RunningCli, str]]:
    (directory / "agent.py").write_text(AGENT)
    (directory / "helper.py").write_text("VERSION = 'one'\n")
    ports = ("--port", "0", "--registry-port", "0")
    async with open_cli("dev", "agent.py", *ports, *args, cwd=directory, env=env) as dev:
        await dev.read_until("watching ")
        found = re.search(r"http://127\.0\.0\.1:\d+", dev.text)
        assert found is not None, dev.text
        yield dev, found[0]


async def change(dev: RunningCli, path: Path, text: str) -> None:
    """Change a file, and wait until that is noticed."""
    dev.text = ""
    await trio.Path(path).write_text(text)
    await dev.read_until("dev: changed: ")


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


@pytest.mark.slow
async def test_an_agent_may_print_ask_start_threads_and_programs_as_it_is_loaded(
    tmp_path: Path,
) -> None:
    """Nothing of that is taken for the answer of the process that looks at it, or delays that."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("print('{}', flush=True)\n")
    noisy = (
        "import subprocess, sys, threading, time\n"
        "print('LOADED', sys.stdin.read())\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(45)'])\n"
        "threading.Thread(target=time.sleep, args=(45,)).start()\n"
    )
    (tmp_path / "helper.py").write_text("VERSION = 'one'\n")
    (tmp_path / "agent.py").write_text(noisy + AGENT)
    env = {"PYTHONPATH": str(tmp_path / "site")}
    ports = ("--port", "0", "--registry-port", "0")
    async with open_cli("dev", "agent.py", *ports, cwd=tmp_path, env=env) as dev:
        with trio.fail_after(40):  # sooner than what the agent has started ends
            await dev.read_until("watching ")
            await dev.read_until("LOADED \n")
            assert dev.text.count("LOADED \n") == 1, "the worker loads the agent once"
            await change(dev, tmp_path / "helper.py", "VERSION = 'two'\n")
            await dev.read_until("new jobs get the new code")
        assert "ERROR" not in dev.text


@pytest.mark.slow
async def test_broken_code_takes_no_job_until_it_is_mended(tmp_path: Path) -> None:
    async with open_dev(tmp_path) as (dev, url):
        await change(dev, tmp_path / "helper.py", "VERSION = (\n")
        await dev.read_until("idle processes keep the code they have")
        await dispatch(url)
        await dev.read_until("one ends")  # by the process that was idle
        await dev.read_until("no job process comes up")
        refused = await run_cli("dispatch", "d", "--registry", url)
        assert "No workers available" in refused.err
        await dev.read_until("offer refused: no job process comes up")
        await change(dev, tmp_path / "helper.py", "VERSION = 'two'\n")
        await dev.read_until("jobs can be run again")
        await dispatch(url)
        await dev.read_until("two ends")


@pytest.mark.slow
async def test_an_agent_that_ends_its_process_is_told_and_waited_for(tmp_path: Path) -> None:
    async with open_dev(tmp_path) as (dev, _):
        await change(dev, tmp_path / "helper.py", "import os\nos._exit(0)\n")
        await dev.read_until("agent.py ended its process (0) while loading")
        await change(dev, tmp_path / "helper.py", "VERSION = 'two'\n")
        await dev.read_until("new jobs get the new code")


@pytest.mark.slow
async def test_a_directory_that_is_made_anew_is_watched_again(tmp_path: Path) -> None:
    """By a checkout, by a tool that copies, by a mount: the kernel watches the old one."""
    home, aside = tmp_path / "home", tmp_path / "aside"
    home.mkdir()
    async with open_dev(home) as (dev, url):  # which runs in that directory, too
        home.rename(aside)
        await dev.read_until(f"{home} is gone")
        dev.text = ""
        shutil.copytree(aside, home)
        await dev.read_until("new jobs get the new code")
        await change(dev, home / "helper.py", "VERSION = 'two'\n")
        await dev.read_until("new jobs get the new code")
        await dispatch(url)
        await dev.read_until("two ends")
        dev.process.send_signal(signal.SIGINT)
        assert await dev.end() == 0


@pytest.mark.slow
async def test_a_directory_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    async with open_dev(tmp_path, "--watch", "prompts") as (dev, _):
        assert f"there is no directory {tmp_path / 'prompts'} yet" in dev.text
        (tmp_path / "prompts").mkdir()
        await dev.read_until("changed: prompts")
        await change(dev, tmp_path / "prompts" / "hello.txt", "Say hello.")


def save_in_place(path: Path, text: str) -> None:
    with path.open("w") as file:  # empty for a moment
        file.flush()
        file.write(text)


def save_by_rename(path: Path, text: str) -> None:
    new = path.with_name(f".{path.name}.tmp")
    new.write_text(text)
    new.replace(path)


def save_with_backup(path: Path, text: str) -> None:
    """As vim does: a trial, a swap file, a backup by rename, and a new file."""
    trial, swap = path.with_name("4913"), path.with_name(f".{path.name}.swp")
    backup = path.with_name(f"{path.name}~")
    trial.touch()
    trial.unlink()
    swap.touch()
    path.rename(backup)
    path.write_text(text)
    backup.unlink()
    swap.unlink()


@pytest.mark.slow
async def test_each_way_of_saving_is_one_change(tmp_path: Path) -> None:
    async with open_dev(tmp_path) as (dev, _):
        (tmp_path / ".helper.py.swp").write_text("an editor has it open")
        (tmp_path / "helper.py~").write_text("a backup")
        for number, save in enumerate((save_in_place, save_by_rename, save_with_backup)):
            dev.text = ""
            save(tmp_path / "helper.py", f"VERSION = {number}\n")
            await dev.read_until("new jobs get the new code")
            assert dev.text.count("dev: changed: helper.py\n") == 1, dev.text
            assert "ERROR" not in dev.text


@pytest.mark.slow
async def test_a_checkout_of_many_files_is_one_change(tmp_path: Path) -> None:
    def git(*args: str) -> None:
        who = ("-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *who, *args], cwd=tmp_path, check=True, capture_output=True)

    def write(version: str) -> None:
        for number in range(100):
            (tmp_path / f"part_{number}.py").write_text(f"VERSION = '{version}'\n")
        git("add", ".")
        git("commit", "-q", "-m", version)

    git("init", "-q")
    write("one")
    git("checkout", "-q", "-b", "other")
    write("two")
    async with open_dev(tmp_path) as (dev, _):
        dev.text = ""
        git("checkout", "-q", "-")
        await dev.read_until("new jobs get the new code")
        assert re.findall("dev: changed: .*", dev.text) == [
            "dev: changed: part_0.py, part_1.py, part_10.py, part_11.py, part_12.py ..."
        ]
        await change(dev, tmp_path / "helper.py", "VERSION = 'two'\n")
        assert re.findall("dev: changed: .*", dev.text) == ["dev: changed: helper.py"]


# Stands for a machine whose limit of watches is used up, which a test must not bring about.
NO_WATCHES = """
from watchfiles import _rust_notify, main
def watching(paths, debug, polling, *rest):
    if not polling:
        raise _rust_notify.WatchfilesRustInternalError("OS file watch limit reached")
    return _rust_notify.RustNotify(paths, debug, polling, *rest)
main.RustNotify = watching
"""


@pytest.mark.slow
@pytest.mark.parametrize("variables", [{}, {"WATCHFILES_FORCE_POLLING": "1"}], ids=str)
async def test_without_inotify_the_files_are_looked_at(
    tmp_path: Path, variables: dict[str, str]
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(NO_WATCHES)
    env = {"PYTHONPATH": str(tmp_path / "site")} | variables
    async with open_dev(tmp_path, env=env) as (dev, _):
        assert ("raise fs.inotify.max_user_watches" in dev.text) is not bool(variables)
        await change(dev, tmp_path / "helper.py", "VERSION = 'two'\n")
        await dev.read_until("new jobs get the new code")


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every directory")
async def test_a_directory_that_may_not_be_read_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    async with open_dev(tmp_path) as (dev, _):
        await change(dev, tmp_path / "helper.py", "VERSION = 'two'\n")
        await dev.read_until("new jobs get the new code")


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


async def test_rooms_on_the_port_of_the_registry_are_refused(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(AGENT)
    (tmp_path / "helper.py").write_text("VERSION = 'one'\n")
    done = await run_cli("dev", "agent.py", "--transport", "websocket", cwd=tmp_path)
    assert done.code == 2
    assert "choose another port: --registry-port 8090" in done.err


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
