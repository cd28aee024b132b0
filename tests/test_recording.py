"""Recording what a script starts instead of starting it."""

from __future__ import annotations

import pytest

from vsdk_trio import _recording


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
