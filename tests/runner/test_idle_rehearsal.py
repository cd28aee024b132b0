"""A job process that has waited a while runs a job that does nothing: when, and nobody sees it."""

from __future__ import annotations

import gc
import logging
import os
from functools import partial

import pytest
import trio
import trio.testing

from tests.runner.test_runner import endless, start
from vsdk_trio.control.channel import ControlChannel
from vsdk_trio.control.frames import Finished, Frame, Ready, Running, Start, Stop
from vsdk_trio.runner.job_context import JobContext, get_current_job_context
from vsdk_trio.runner.loader import Loaded
from vsdk_trio.runner.rehearsal import TIMES, rehearse
from vsdk_trio.runner.runner import IDLE_SECONDS, run_runner


def descriptors() -> list[str]:
    return sorted(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else []


def tasks() -> int:
    root = trio.lowlevel.current_root_task()
    assert root is not None
    waiting, count = [root], 0
    while waiting:
        task = waiting.pop()
        count += 1
        waiting += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return count


@pytest.mark.real
async def test_it_leaves_nothing_behind(caplog: pytest.LogCaptureFixture) -> None:
    before = descriptors(), tasks()
    with caplog.at_level(logging.DEBUG):
        for _ in range(3):
            await rehearse()
    assert (descriptors(), tasks()) == before
    assert get_current_job_context() is None
    assert caplog.records == []
    gc.collect()
    contexts = [thing for thing in gc.get_objects() if type(thing) is JobContext]
    assert not [ctx for ctx in contexts if ctx.job.job_id == "rehearsal"]


@pytest.mark.real
async def test_it_runs_a_job_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    async def entrypoint(ctx: JobContext) -> None:
        seen.append(ctx.job.job_id)

    monkeypatch.setattr("vsdk_trio.runner.rehearsal._do_nothing", entrypoint)
    with trio.fail_after(30):
        await rehearse()
    assert seen == ["rehearsal"] * TIMES


async def test_without_descriptors_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def socketpair() -> None:
        raise OSError("too many open files")

    monkeypatch.setattr("socket.socketpair", socketpair)
    await rehearse()


async def test_one_that_hangs_is_cut_off(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    async def hang(stream: trio.abc.Stream) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr("vsdk_trio.runner.rehearsal._run", hang)
    before = descriptors()
    await rehearse()
    assert descriptors() == before


class Rehearsal:
    """Takes `seconds`, and writes down when."""

    def __init__(self, seconds: float = 0) -> None:
        self.seconds = seconds
        self.began: list[float] = []
        self.ended = 0

    async def __call__(self) -> None:
        self.began.append(trio.current_time())
        await trio.sleep(self.seconds)
        self.ended += 1


async def live(rehearsal: Rehearsal, *words: tuple[float, Start | Stop]) -> list[Frame]:
    """A runner that is told `words`, each so many seconds after it was ready; what it says."""
    ours, theirs = trio.testing.memory_stream_pair()
    loaded = Loaded(entrypoint=endless)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(run_runner, theirs, theirs, loaded, rehearse=rehearsal))
        channel = ControlChannel(ours, ours)
        assert isinstance(await channel.__anext__(), Ready)
        ready_at = trio.current_time()
        rehearsal.began.clear()
        for seconds, word in words:
            await trio.sleep_until(ready_at + seconds)
            await channel.send(word)
        with trio.fail_after(10):
            frames = [await channel.__anext__()]
            while not isinstance(frames[-1], Finished):
                frames.append(await channel.__anext__())
    rehearsal.began = [at - ready_at for at in rehearsal.began]
    return frames


STOPPED = [Running(), Finished(status="cancelled", error="enough")]


async def test_there_is_one_where_no_job_comes(autojump_clock: trio.testing.MockClock) -> None:
    rehearsal = Rehearsal()
    assert await live(rehearsal, (60, start()), (90, Stop(reason="enough"))) == STOPPED
    assert rehearsal.began == [pytest.approx(IDLE_SECONDS)]
    assert rehearsal.ended == 1


async def test_there_is_none_where_a_job_comes_soon(autojump_clock: trio.testing.MockClock) -> None:
    rehearsal = Rehearsal()
    words = (IDLE_SECONDS / 2, start()), (90.0, Stop(reason="enough"))
    assert await live(rehearsal, *words) == STOPPED
    assert rehearsal.began == []


async def test_a_job_that_comes_meanwhile_calls_it_off(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rehearsal = Rehearsal(seconds=5)
    words = (2.0, start()), (3.0, Stop(reason="enough"))
    assert await live(rehearsal, *words) == STOPPED
    assert trio.current_time() < 4
    assert rehearsal.ended == 0


async def test_a_process_that_is_stopped_meanwhile_ends(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rehearsal = Rehearsal(seconds=1000)
    ours, theirs = trio.testing.memory_stream_pair()
    run = partial(run_runner, theirs, theirs, Loaded(entrypoint=endless), rehearse=rehearsal)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await trio.sleep(1)
            await ControlChannel(ours, ours).send(Stop())
    assert len(rehearsal.began) == 1
    assert rehearsal.ended == 0
