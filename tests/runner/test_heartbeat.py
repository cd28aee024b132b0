"""Memory and the longest blocking step."""

from __future__ import annotations

import builtins
import sys
import time
from typing import Any

import pytest
import trio

from vsdk_trio.runner import heartbeat


def test_memory_is_plausible() -> None:
    memory = heartbeat.memory_mb()
    assert memory is not None
    assert 5 < memory < 10_000


@pytest.mark.parametrize(("platform", "divisor"), [("darwin", 1 << 20), ("linux", 1024)])
def test_without_proc_it_is_the_peak(
    platform: str, divisor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import resource

    def missing(*_: Any) -> Any:
        raise FileNotFoundError

    monkeypatch.setattr(builtins, "open", missing)
    monkeypatch.setattr(sys, "platform", platform)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert heartbeat.memory_mb() == pytest.approx(peak / divisor, rel=0.1)
    monkeypatch.setitem(sys.modules, "resource", None)
    assert heartbeat.memory_mb() is None


@pytest.mark.real
async def test_the_longest_step_is_remembered_once() -> None:
    steps = heartbeat.LongestStep()
    trio.lowlevel.add_instrument(steps)
    try:
        await trio.lowlevel.checkpoint()
        time.sleep(0.03)  # noqa: ASYNC251  # blocking the loop is the point
        await trio.lowlevel.checkpoint()
        assert steps.take_ms() >= 30
        await trio.lowlevel.checkpoint()
        assert steps.take_ms() < 30
    finally:
        trio.lowlevel.remove_instrument(steps)


async def test_a_step_under_way_counts_from_when_the_instrument_came() -> None:
    longest = heartbeat.LongestStep()
    trio.lowlevel.add_instrument(longest)
    await trio.lowlevel.checkpoint()
    trio.lowlevel.remove_instrument(longest)
    assert longest.take_ms() < 10_000
