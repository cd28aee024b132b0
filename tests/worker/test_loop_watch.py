"""A worker whose own loop is blocked says by what, and one that is idle is not woken."""

from __future__ import annotations

import logging
import sys
import threading
import time
from pathlib import Path

import pytest
import trio
import trio.lowlevel

from vsdk_trio.worker.loop_watch import watched_loop

pytestmark = pytest.mark.real


def records(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name.endswith("loop_watch")]


def blocks_for(seconds: float) -> None:
    """A user's function that does what it should not."""
    time.sleep(seconds)


async def calls_it(seconds: float) -> None:
    blocks_for(seconds)
    await trio.lowlevel.checkpoint()


async def test_what_blocks_the_loop_is_named(caplog: pytest.LogCaptureFixture) -> None:
    with watched_loop(warn_after=0.1):
        for _ in range(2):  # awake and, the second time, asleep before it happens
            async with trio.open_nursery() as nursery:
                nursery.start_soon(calls_it, 0.7)
            await trio.sleep(0.5)
    texts = [record.getMessage() for record in records(caplog)]
    assert len(texts) == 4, texts
    for begin, end in (texts[:2], texts[2:]):
        assert begin.startswith("something blocks the worker's event loop for 0.")
        assert end.startswith("the worker's event loop goes on; it was blocked for 0.")
    stack = str(records(caplog)[0].exc_text)
    assert "in blocks_for" in stack
    assert "in calls_it" in stack
    assert "trio/_core" not in stack.replace("\\", "/")


async def test_a_loop_that_goes_round_is_not_mistaken_for_one_that_does_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with watched_loop(warn_after=0.1):
        until = trio.current_time() + 0.8
        while trio.current_time() < until:
            time.sleep(0.02)  # noqa: ASYNC251  # busy, but not for long at a time
            await trio.lowlevel.checkpoint()
    assert records(caplog) == []


@pytest.mark.skipif(sys.platform != "linux", reason="wakeups are counted in /proc")
async def test_an_idle_loop_is_not_watched_by_the_clock() -> None:
    with watched_loop(warn_after=0.05):
        await trio.sleep(0.3)
        (thread,) = [t for t in threading.enumerate() if t.name == "loop watch"]
        status = Path(f"/proc/self/task/{thread.native_id}/status")
        counts: list[int] = []
        while not counts or (min(counts) > 4 and len(counts) < 5):
            before = _switches(status)
            await trio.sleep(1)
            counts.append(_switches(status) - before)
        # It goes to rest, and is woken once more at the end. A busy machine has it wait for the
        # interpreter as well, now and then; woken by the clock it would be twenty, each time.
        assert min(counts) <= 4, counts
    thread.join(5)
    assert not thread.is_alive()


def _switches(status: Path) -> int:
    (line,) = [t for t in status.read_text().splitlines() if t.startswith("voluntary")]
    return int(line.split()[1])
