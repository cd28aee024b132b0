"""Ready-made `load_fnc`s."""

from __future__ import annotations

import pytest

from vsdk_trio import load
from vsdk_trio.load import CpuLoad


def test_cpu_load_is_a_share_that_is_kept_for_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(load.time, "monotonic", lambda: now[0])
    gauge = CpuLoad(window=1.0)
    readings = iter([50.0, 80.0])
    gauge._cpu_percent = lambda _: next(readings)  # type: ignore[assignment, misc]  # a scripted CPU
    assert gauge() == 0.0
    now[0] += 1
    assert gauge() == 0.5
    assert gauge() == 0.5
    now[0] += 1
    assert gauge() == 0.8


def test_cpu_load_measures_this_machine() -> None:
    assert 0.0 <= CpuLoad(window=0.0)() <= 1.0
