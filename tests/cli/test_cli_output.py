"""What the commands print is harmless, complete, and plain where no terminal is."""

from __future__ import annotations

import pytest

from vsdk_trio.cli._output import console, harmless, seconds
from vsdk_trio.cli._tables import Column, TableOf, rendered


def test_control_characters_of_others_do_not_reach_the_terminal() -> None:
    assert harmless("a\x1b[2Jb\nc\td\u202ee") == "a\ufffd[2Jb c d\ufffde"


def test_a_table_that_is_piped_is_plain_and_complete(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [("x" * 36, "[bold]not markup[/bold] " + "y" * 100)]
    console().print(rendered(TableOf([Column("JOB"), Column("ERROR", least=4)], rows)))
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "x" * 36 in out
    assert "[bold]not markup[/bold] " + "y" * 100 in out


def test_durations() -> None:
    assert [seconds(value) for value in (None, 0.0021, 75.4)] == ["", "0.002 s", "75 s"]
