from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from vsdk_trio.processes.stop_ladder import Graces, Rung, stop_ladder

Timeline = list[tuple[float, object]]


class Recorder:
    """A process handle that does nothing but note what is done to it, and when."""

    pid = 1
    returncode = None

    def __init__(self) -> None:
        self.began = trio.current_time()
        self.timeline: Timeline = []
        self.stdin, self._far_stdin = trio.testing.memory_stream_one_way_pair()
        self._far_stdout, self.stdout = trio.testing.memory_stream_one_way_pair()
        self._far_stderr, self.stderr = trio.testing.memory_stream_one_way_pair()
        self.stdin.close_hook = lambda: self.note("EOF")

    def note(self, what: object) -> None:
        self.timeline.append((round(trio.current_time() - self.began, 6), what))

    def signal_group(self, signum: int) -> None:
        self.note(signal.Signals(signum))

    def ask_for_stacks(self, signum: int) -> bool:
        return False

    def memory_mb(self) -> float | None:
        return None

    def cpu_seconds(self) -> float | None:
        return None

    def close(self) -> None:
        raise AssertionError("the ladder does not own the pipes")


async def _climb(
    graces: Graces,
    *,
    send_stop: Callable[[], Awaitable[None]] | None = None,
    job_over: trio.Event | None = None,
) -> tuple[Timeline, list[Rung]]:
    recorder = Recorder()
    rungs: list[Rung] = []

    async def say_stop() -> None:
        await trio.lowlevel.checkpoint()
        recorder.note("stop frame")

    await stop_ladder(
        recorder,
        send_stop or say_stop,
        graces,
        job_over=trio.Event() if job_over is None else job_over,
        on_rung=rungs.append,
    )
    return recorder.timeline, rungs


async def test_each_rung_has_its_grace(autojump_clock: trio.testing.MockClock) -> None:
    timeline, rungs = await _climb(Graces(close_timeout=60, termination_timeout=3))
    assert timeline == [
        (0, "stop frame"),
        (60, "EOF"),
        (63, signal.SIGTERM),
        (66, signal.SIGKILL),
    ]
    assert rungs == [Rung.STOP_FRAME, Rung.EOF, Rung.SIGTERM, Rung.SIGKILL]


async def test_hurry_cuts_what_remains(autojump_clock: trio.testing.MockClock) -> None:
    graces = Graces(close_timeout=60, termination_timeout=3)
    async with trio.open_nursery() as nursery:

        async def second_signal() -> None:
            await trio.sleep(10)
            graces.hurry.set()

        nursery.start_soon(second_signal)
        timeline, _ = await _climb(graces)
    assert [when for when, _ in timeline] == [0, 13, 16, 19]


async def test_hurry_does_not_lengthen_a_grace(autojump_clock: trio.testing.MockClock) -> None:
    graces = Graces(close_timeout=1, termination_timeout=3)
    graces.hurry.set()
    timeline, _ = await _climb(graces)
    assert [when for when, _ in timeline] == [0, 1, 4, 7]


async def test_without_a_job_there_are_no_callbacks_to_wait_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    over = trio.Event()
    over.set()
    timeline, _ = await _climb(Graces(close_timeout=60, termination_timeout=3), job_over=over)
    assert [when for when, _ in timeline] == [0, 3, 6, 9]


@pytest.mark.parametrize("error", [trio.BrokenResourceError, trio.ClosedResourceError])
async def test_a_stop_frame_that_cannot_be_sent_is_not_waited_for(
    error: type[Exception], autojump_clock: trio.testing.MockClock
) -> None:
    async def broken() -> None:
        await trio.lowlevel.checkpoint()
        raise error

    graces = Graces(close_timeout=60, termination_timeout=3)
    timeline, _ = await _climb(graces, send_stop=broken)
    assert timeline == [(0, "EOF"), (3, signal.SIGTERM), (6, signal.SIGKILL)]


async def test_a_process_that_does_not_read_does_not_block_the_ladder(
    autojump_clock: trio.testing.MockClock,
) -> None:
    graces = Graces(close_timeout=60, termination_timeout=3)
    timeline, _ = await _climb(graces, send_stop=trio.sleep_forever)
    assert timeline == [(3, "EOF"), (6, signal.SIGTERM), (9, signal.SIGKILL)]


async def test_an_unexpected_error_still_ends_in_sigkill(
    autojump_clock: trio.testing.MockClock,
) -> None:
    recorder = Recorder()

    async def bug() -> None:
        await trio.lowlevel.checkpoint()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await stop_ladder(
            recorder,
            bug,
            Graces(close_timeout=60, termination_timeout=3),
            job_over=trio.Event(),
            on_rung=lambda rung: None,
        )
    assert recorder.timeline == [(0, signal.SIGKILL)]


@pytest.mark.parametrize("when", [0, 30, 61, 64, 65])
async def test_cancelled_when_the_process_is_gone_it_kills_the_group_once_more(
    when: float, autojump_clock: trio.testing.MockClock
) -> None:
    recorder = Recorder()
    rungs: list[Rung] = []
    with trio.move_on_after(when):
        await stop_ladder(
            recorder,
            trio.lowlevel.checkpoint,
            Graces(close_timeout=60, termination_timeout=3),
            job_over=trio.Event(),
            on_rung=rungs.append,
        )
    assert recorder.timeline[-1] == (when, signal.SIGKILL)
    assert Rung.SIGKILL not in rungs


async def test_no_ladder_takes_longer_than_the_total(
    autojump_clock: trio.testing.MockClock,
) -> None:
    graces = Graces(close_timeout=60, termination_timeout=3)

    async def slow() -> None:
        await trio.sleep(2.9)

    timeline, _ = await _climb(graces, send_stop=slow)
    assert timeline[-1][0] <= graces.total_seconds
