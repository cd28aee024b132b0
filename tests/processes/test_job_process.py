"""Job processes in virtual time: the simulated spawner shows that they know the edge only."""

from __future__ import annotations

import signal
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from vsdk_trio.control.frames import Finished, Hello, Ping, Pong, Ready, Running, Start
from vsdk_trio.errors import JobProcessError
from vsdk_trio.processes.edge import Command
from vsdk_trio.processes.job_process import JobProcess, run_job_process
from vsdk_trio.processes.stop_ladder import Graces, Rung

GRACES = Graces(close_timeout=60, termination_timeout=3)
COMMAND = Command(argv=("python",), cookie="c")


async def _start(nursery: trio.Nursery, spawner: Any) -> JobProcess:
    process: JobProcess = await nursery.start(
        partial(run_job_process, spawner, COMMAND, graces=GRACES)
    )
    return process


async def test_a_job_from_hello_to_finished(
    spawner: Any, autojump_clock: trio.testing.MockClock
) -> None:
    async with trio.open_nursery() as nursery:
        process = await _start(nursery, spawner)
        await process.send(Hello(entrypoint={}))
        assert isinstance(await anext(process.frames()), Ready)
        await process.send(Start(job={"job_id": "j"}))
        assert [frame async for frame in process.frames()] == [
            Running(),
            Finished(status="completed"),
        ]
        await process.exited.wait()
    assert process.exit.returncode == 0
    assert spawner.processes[0].closed


async def test_a_deaf_process_with_a_job_gets_the_long_grace(
    spawner: Any, autojump_clock: trio.testing.MockClock
) -> None:
    async def deaf(process: Any) -> int:
        process.ignores.add(signal.SIGTERM)
        await trio.sleep_forever()
        return 0

    spawner.program = deaf
    async with trio.open_nursery() as nursery:
        process = await _start(nursery, spawner)
        await process.send(Start(job={}))
        process.request_stop("enough")
    assert spawner.processes[0].signals == [(63, signal.SIGTERM), (66, signal.SIGKILL)]
    assert process.exit.killed
    assert process.exit.describe().startswith("the job process did not stop when asked")


async def test_one_without_a_job_or_that_has_finished_gets_the_short_one(
    spawner: Any, autojump_clock: trio.testing.MockClock
) -> None:
    async def lingers(process: Any) -> int:
        async for frame in process.channel:
            if isinstance(frame, Start):
                await trio.sleep(10)
                await process.channel.send(Finished(status="failed", error="x"))
        await trio.sleep_forever()
        return 0

    spawner.program = lingers
    async with trio.open_nursery() as nursery:
        await _start(nursery, spawner)
        nursery.cancel_scope.cancel()
    assert spawner.processes[0].signals == [(6, signal.SIGTERM)]
    async with trio.open_nursery() as nursery:
        process = await _start(nursery, spawner)
        await process.send(Start(job={}))
        process.request_stop("enough")
    # Finished 10 s after the stop frame: 3 s from then to EOF, 3 s more to the signal.
    assert spawner.processes[1].signals == [(16, signal.SIGTERM)]
    assert process.exit.rung is Rung.SIGTERM


async def test_frames_without_a_reader_hold_the_process_up_but_never_its_end(
    spawner: Any, autojump_clock: trio.testing.MockClock
) -> None:
    async def talkative(process: Any) -> int:
        for seq in range(1000):
            await process.channel.send(Pong(seq=seq))
        await process.channel.send(Finished(status="completed"))
        return 0

    spawner.program = talkative
    async with trio.open_nursery() as nursery:
        process = await _start(nursery, spawner)
        await process.exited.wait()
        frames = [frame async for frame in process.frames()]
    assert len(frames) == 1001
    assert frames[-1] == Finished(status="completed")


async def test_a_reader_that_is_slow_gets_every_frame_in_order(
    spawner: Any, autojump_clock: trio.testing.MockClock
) -> None:
    async def echoes(process: Any) -> int:
        async for frame in process.channel:
            if isinstance(frame, Ping):
                await process.channel.send(Pong(seq=frame.seq))
                if frame.seq == 199:
                    return 0
        return 1

    spawner.program = echoes
    seen = []
    async with trio.open_nursery() as nursery:
        process = await _start(nursery, spawner)
        for seq in range(200):
            await process.send(Ping(seq=seq))
        async for frame in process.frames():
            await trio.sleep(0.01)
            seen.append(frame)
    assert seen == [Pong(seq=seq) for seq in range(200)]


async def test_whoever_holds_the_pipes_open_after_the_exit_is_not_waited_for_long(
    spawner: Any, autojump_clock: trio.testing.MockClock
) -> None:
    async def leaves_a_pipe_open(process: Any) -> int:
        process.own_stdout.close = lambda: None
        await trio.sleep(1)
        return 3

    spawner.program = leaves_a_pipe_open
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        process = await _start(nursery, spawner)
        assert [frame async for frame in process.frames()] == []
    assert process.exit.returncode == 3
    assert trio.current_time() - began == pytest.approx(2)


async def test_what_cannot_be_started_is_one_error(
    spawner: Any, autojump_clock: trio.testing.MockClock
) -> None:
    spawner.error = FileNotFoundError(2, "No such file", "python")
    with pytest.raises(JobProcessError, match=r"python.*No such file") as caught:
        await run_job_process(spawner, COMMAND, graces=GRACES)
    assert isinstance(caught.value.__cause__, FileNotFoundError)


async def test_cancelled_at_any_checkpoint_nothing_is_left(
    spawner: Any, autojump_clock: trio.testing.MockClock
) -> None:
    """A job with traffic both ways, cancelled at the k-th checkpoint of its user, for every k."""
    for k in range(25):
        process: JobProcess | None = None
        async with trio.open_nursery() as nursery:

            async def use(nursery: trio.Nursery = nursery) -> None:
                nonlocal process
                process = await _start(nursery, spawner)
                await process.send(Hello(entrypoint={}))
                await anext(process.frames())
                await process.send(Start(job={}))
                async for _ in process.frames():
                    pass

            nursery.start_soon(use)
            for _ in range(k):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        assert spawner.alive == []
        assert all(simulated.closed for simulated in spawner.processes)
        assert process is None or process.exited.is_set()


async def test_cancelled_at_any_moment_of_a_job_nothing_is_left(
    spawner: Any, autojump_clock: trio.testing.MockClock
) -> None:
    for tenths in range(14):
        async with trio.open_nursery() as nursery:
            process = await _start(nursery, spawner)
            await process.send(Hello(entrypoint={}))
            await process.send(Start(job={}))
            await trio.sleep(tenths / 10)
            nursery.cancel_scope.cancel()
        assert spawner.alive == []
        assert process.exited.is_set()
        assert process.exit.stop_reason in (None, "the worker is stopping")
