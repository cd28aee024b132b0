"""A worker with a state directory is killed, and started again: the registry is told the truth."""

from __future__ import annotations

import re
import resource
import signal
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import trio

from vsdk_trio.registry.switchboard import WorkerLink

from .conftest import Program, System, eventually, open_system

pytestmark = pytest.mark.real


def registrations(system: System) -> list[dict[str, Any]]:
    return [frame for frame in system.registry.frames if frame["type"] == "register"]


async def start(system: System, **options: Any) -> Program:
    """Start a worker with a state directory, and wait until it has registered."""
    before = len(registrations(system))
    settings = {"state_dir": str(system.directory / "state"), "max_processes": 4, **options}
    program = await system.start_agent(**settings)
    await eventually(
        lambda: len(registrations(system)) > before or program.process.poll() is not None,
        "it does not register",
    )
    assert program.process.poll() is None, program.output
    await eventually(lambda: registered_worker(system), "not listed")
    return program


def registered_worker(system: System) -> str | None:
    return next((w.worker_id for w in system.registry.workers() if not w.away), None)


async def kill(system: System, worker: Program) -> None:
    worker.signal(signal.SIGKILL)
    await worker.exit_code()


def ends(system: System, job_id: str) -> list[tuple[str, str | None]]:
    updates = system.registry.updates(job_id)
    return [(u.status, u.error) for u in updates if u.status != "running"]


async def health(program: Program) -> tuple[int, str]:
    (url,) = re.findall(r"health at (\S+)", program.output)

    def get() -> tuple[int, str]:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()

    return await trio.to_thread.run_sync(get)


def keep_pongs_back(system: System) -> None:
    """From the next session on, so that nothing that is sent in it is proven delivered."""
    serve = system.registry.serve_worker

    async def serve_without_pongs(link: WorkerLink) -> None:
        websocket = link._websocket  # type: ignore[attr-defined]  # below the registry's own code
        send_text = websocket.send_text

        async def send(text: str) -> None:
            if '"pong"' not in text:
                await send_text(text)

        websocket.send_text = send
        await serve(link)

    system.registry.serve_worker = serve_without_pongs  # type: ignore[method-assign]


@pytest.mark.usefixtures("each_start_method")
async def test_the_next_worker_tells_how_it_was(tmp_path: Path) -> None:
    async with open_system(tmp_path) as system:
        keep_pongs_back(system)
        worker = await start(system, heartbeat_interval=60)
        worker_id = registered_worker(system)
        waiting = await system.dispatch("waits")
        done = await system.dispatch("returns")
        failed = await system.dispatch("raises")
        await eventually(lambda: ends(system, done) and ends(system, failed), "not told")
        await kill(system, worker)
        worker = await start(system)
        (first, second) = registrations(system)
        assert (first["worker_id"], second["worker_id"]) == ("", worker_id)
        assert registered_worker(system) == worker_id
        await eventually(lambda: ends(system, waiting), "the interrupted job is not told of")
        assert ends(system, waiting) == [("failed", "worker was restarted")]
        assert system.registry.job(waiting).error == "worker was restarted"
        # Told by both lives, in the same words.
        await eventually(lambda: len(ends(system, failed)) == 2, "not told again")
        for job_id in (done, failed):
            assert len(ends(system, job_id)) == 2
            assert len(set(ends(system, job_id))) == 1
        # It could end in its own way, though its worker was dead.
        assert system.notes(waiting) == ["entered", "left", "callback: the worker is gone"]
        assert (await system.run_job("returns")).state.value == "completed"
        worker.signal(signal.SIGTERM)
        assert await worker.exit_code() == 0
        await system.nothing_left()


@pytest.mark.usefixtures("each_start_method")
@pytest.mark.parametrize("kind", ["ignores everything", "holds the GIL"])
async def test_nobody_of_the_dead_one_is_left_when_the_next_one_registers(
    tmp_path: Path, kind: str
) -> None:
    async with open_system(tmp_path) as system:
        worker = await start(system)  # its own guardian would wait for a minute
        job_id = await system.dispatch(kind)
        old = {process.pid for process in system.job_processes()}
        sleepers = {process.pid for process in system.find("sleep")}
        assert old
        left_at_registration: list[set[int]] = []
        serve = system.registry.serve_worker

        async def look_first(link: WorkerLink) -> None:
            left_at_registration.append({p.pid for p in system.processes()} & (old | sleepers))
            await serve(link)

        system.registry.serve_worker = look_first  # type: ignore[method-assign]
        await kill(system, worker)
        worker = await start(system, close_timeout=1.0)
        assert left_at_registration == [set()]
        await eventually(lambda: ends(system, job_id), "not told of")
        assert ends(system, job_id) == [("failed", "worker was restarted")]
        assert "killed processes that a dead worker had left" in worker.output
        worker.signal(signal.SIGTERM)
        assert await worker.exit_code() == 0


@pytest.mark.usefixtures("each_start_method")
async def test_killed_again_and_again(tmp_path: Path) -> None:
    """Each life takes jobs and is killed; every job has ended once, truthfully."""
    async with open_system(tmp_path) as system:
        jobs = []
        for _ in range(4):
            worker = await start(system)
            jobs += [await system.dispatch("waits"), await system.dispatch("returns")]
            await kill(system, worker)
        worker = await start(system)
        for job_id in jobs:
            await eventually(lambda job_id=job_id: ends(system, job_id), "never told")
            assert len(set(ends(system, job_id))) == 1
        assert len({frame["worker_id"] for frame in registrations(system)[1:]}) == 1
        worker.signal(signal.SIGTERM)
        assert await worker.exit_code() == 0


async def test_a_second_worker_is_refused(tmp_path: Path) -> None:
    async with open_system(tmp_path) as system:
        first = await start(system)
        second = await system.start_agent(state_dir=str(tmp_path / "state"))
        assert await second.exit_code() == 1
        assert second.verdict == (
            f"the state directory '{tmp_path}/state' is in use by another worker of 'agent' "
            f"(pid {first.pid}); every worker needs one of its own"
        )
        assert len(registrations(system)) == 1
        job = await system.run_job("returns")
        assert job.state.value == "completed"


async def test_a_file_that_makes_no_sense(tmp_path: Path) -> None:
    async with open_system(tmp_path) as system:
        worker = await start(system)
        await system.dispatch("waits")
        await kill(system, worker)
        spoilt = b"\xff" * 10_000
        for name in ("agent.journal", "agent.journal-wal"):
            (tmp_path / "state" / name).write_bytes(spoilt)
        worker = await start(system)
        (aside,) = (p for p in (tmp_path / "state").glob("*.corrupt-*Z"))
        assert aside.read_bytes() == spoilt
        status, text = await health(worker)
        assert status == 200
        assert text.startswith("OK\nwarning: the journal made no sense")
        assert str(aside) in text
        assert (await system.run_job("returns")).state.value == "completed"
        await kill(system, worker)
        assert (await health(await start(system))) == (200, "OK")


async def test_a_directory_that_is_none(tmp_path: Path) -> None:
    async with open_system(tmp_path) as system:
        (tmp_path / "state").write_text("a file")
        worker = await start(system)
        assert (await system.run_job("returns")).state.value == "completed"
        assert worker.output.count("going on without a journal") == 1
        status, text = await health(worker)
        assert status == 200
        assert text.startswith("OK\nwarning: going on without a journal")
        worker.signal(signal.SIGTERM)
        assert await worker.exit_code() == 0


async def test_a_disk_that_becomes_full(tmp_path: Path) -> None:
    async with open_system(tmp_path) as system:
        worker = await start(system)
        before = await system.dispatch("returns", seconds=1)
        size = (tmp_path / "state" / "agent.journal-wal").stat().st_size
        resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        assert (await system.end_of(before)).state.value == "completed"
        assert (await system.run_job("returns")).state.value == "completed"
        assert worker.output.count("going on without a journal") == 1
        assert "warning: going on without a journal" in (await health(worker))[1]
        # What it had written is no longer true: the next one must not take it for the truth.
        await kill(system, worker)
        await start(system)
        assert (await system.run_job("returns")).state.value == "completed"
        assert ends(system, before) == [("completed", None)]
        assert len(list((tmp_path / "state").glob("*.abandoned-*Z"))) == 1


async def test_no_token_is_in_any_file(tmp_path: Path) -> None:
    async with open_system(tmp_path) as system:
        secret = "worker-s3cr3t-0123456789"
        worker = await start(system, auth_token=secret)
        running = await system.dispatch("waits")
        await system.run_job("raises")

        def written() -> bytes:
            return b"".join(p.read_bytes() for p in (tmp_path / "state").iterdir())

        assert running.encode() in written()
        assert secret.encode() not in written()
        worker.signal(signal.SIGINT)
        await worker.exit_code()
        assert running.encode() in written()
        assert secret.encode() not in written()
