"""What a script prints before the program's log begins."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from vsdk_trio.telemetry.logs.setup import program_log


def test_it_is_written_before_what_follows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out"
    with path.open("w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        print("loaded")
        assert path.read_text() == ""
        with program_log("INFO"):
            assert path.read_text() == "loaded\n"


def test_where_it_cannot_be_written_it_is_dropped(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with open("/dev/full", "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        print("loaded")
        with program_log("INFO"):
            print("and more")
    # Closing it wrote the rest, and raised nothing.
    assert "stdout cannot be written, what the program prints is lost" in caplog.text


@pytest.mark.parametrize("how", ["closed", "none", "of no file"])
def test_a_stdout_that_is_none(how: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stream = (tmp_path / "out").open("w")
    stream.close()
    replacement = {"closed": stream, "none": None, "of no file": object()}[how]
    monkeypatch.setattr(sys, "stdout", replacement)
    with program_log("INFO"):
        pass
