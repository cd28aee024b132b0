"""Recording what a script starts instead of starting it."""

from __future__ import annotations

import multiprocessing.process
import sys

import pytest

from vsdk_trio.runner import recording as _recording


def test_start_is_recorded_only_while_recording() -> None:
    assert not _recording.is_recording()
    with _recording.recording() as jobs:
        assert _recording.is_recording()
        _recording.record("a")
        _recording.record("b")
        with pytest.raises(RuntimeError, match="active already"), _recording.recording():
            pass
        assert _recording.is_recording()
    assert jobs == ["a", "b"]
    assert not _recording.is_recording()
    with pytest.raises(RuntimeError, match="nothing records"):
        _recording.record("c")


def test_a_script_is_only_loaded_by_a_recording_or_by_a_child_of_multiprocessing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not _recording.is_only_loading()
    with _recording.recording():
        assert _recording.is_only_loading()
    this_process = multiprocessing.process.current_process()
    monkeypatch.setattr(this_process, "_inheriting", True, raising=False)
    assert _recording.is_only_loading()
    monkeypatch.delitem(sys.modules, "multiprocessing.process")
    assert not _recording.is_only_loading()
