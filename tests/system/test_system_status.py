"""A worker as a program, asked over HTTP: its routes while a job runs, and a drain asked for."""

from __future__ import annotations

import json
import re
import signal
import socket
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import trio

from .conftest import Program, open_system

pytestmark = pytest.mark.real


def _ask(request: urllib.request.Request) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


async def ask(worker: Program, path: str, method: str = "GET", **headers: str) -> tuple[int, Any]:
    url = re.findall(r"dashboard at (\S+),", worker.output)[-1]
    request = urllib.request.Request(url + path, method=method, headers=headers)
    return await trio.to_thread.run_sync(_ask, request)


async def test_a_job_is_seen_and_a_drain_waits_for_it(tmp_path: Path) -> None:
    async with open_system(tmp_path) as system:
        worker = await system.open_agent(debug_token="s3cr3t-token")
        assert await ask(worker, "/readyz") == (
            200,
            {"ready": True, "reasons": [], "draining": None},
        )
        job_id = await system.dispatch("waits")
        _, runners = await ask(worker, "/debug/runners/")
        assert [runner["id"] for runner in runners["runners"]] == [job_id]
        _, stats = await ask(worker, "/stats")
        [resource] = [r for r in stats["resource_info"] if r["metadata"]["job_id"] == job_id]
        assert resource["status"] == "busy"
        assert resource["memory_usage_mb"] > 1
        assert 0 <= resource["cpu_usage_percent"] < 1000
        _, tasks = await ask(worker, "/debug/tasks", Accept="application/json")
        assert "_supervise" in json.dumps(tasks)
        assert (await ask(worker, "/drain", "POST", Host="evil.example"))[0] == 403
        assert (await ask(worker, "/drain", "POST", Authorization="Bearer wrong"))[0] == 401
        assert (await ask(worker, "/readyz"))[0] == 200
        status, answer = await ask(worker, "/drain", "POST")
        assert (status, answer["stage"]) == (202, "draining")
        status, ready = await ask(worker, "/readyz")
        assert (status, ready["draining"]["waiting_for"]) == (503, ["1 job to end"])
        assert 3000 < ready["draining"]["jobs_may_run_seconds"] <= 3600
        assert (await ask(worker, "/drain", "POST", Authorization="Bearer s3cr3t-token"))[0] == 202
        system.registry.terminate(job_id)
        assert await worker.exit_code() == 0, worker.output
        assert "s3cr3t" not in worker.output


async def test_systemd_is_told(
    tmp_path: Path, short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ready once registered; leaving as soon as it drains; jobs know nothing of it."""
    path = str(short_path / "notify")
    heard: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(path)
        systemd.setblocking(False)

        async def hears(text: str) -> None:
            with trio.fail_after(20):
                while not any(text in line for line in heard):
                    await trio.lowlevel.wait_readable(systemd)
                    heard.extend(systemd.recv(4096).decode().split("\n"))

        monkeypatch.setenv("NOTIFY_SOCKET", path)
        async with open_system(tmp_path) as system:
            worker = await system.open_agent()
            await hears("READY=1")
            [worker_id] = [worker.worker_id for worker in system.registry.workers()]
            await hears(f"STATUS=registered as {worker_id}, 0 of 1 jobs")
            job_id = await system.dispatch("waits")
            await hears("1 of 1 jobs")
            for process in system.job_processes():
                assert "NOTIFY_SOCKET" not in process.environ()
            worker.signal(signal.SIGTERM)
            await hears("STOPPING=1")
            await hears("STATUS=draining (SIGTERM), waiting for 1 job to end")
            system.registry.terminate(job_id)
            assert await worker.exit_code() == 0, worker.output
