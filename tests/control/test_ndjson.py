from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from vsdk_trio.control.ndjson import Line, LineSplitter

_MAX = 5


def _expected(text: bytes) -> list[Line]:
    """The naive model: what a splitter that has seen all of `text` must have given out."""
    *whole, last = text.split(b"\n")
    lines = [Line(line[:_MAX], truncated=len(line) > _MAX) for line in whole]
    return lines + ([Line(last[:_MAX], truncated=True)] if len(last) > _MAX else [])


class SplitterMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.splitter = LineSplitter(_MAX)
        self.fed = b""
        self.lines: list[Line] = []

    @rule(chunk=st.binary(max_size=12) | st.text("ab\n", max_size=20).map(str.encode))
    def feed(self, chunk: bytes) -> None:
        self.fed += chunk
        self.lines += self.splitter.feed(chunk)

    @rule()
    def end_and_begin_again(self) -> None:
        last = self.fed.rpartition(b"\n")[2]
        rest = self.splitter.rest()
        assert rest == ([Line(last)] if 0 < len(last) <= _MAX else [])
        self.fed, self.lines = b"", []

    @invariant()
    def agrees_with_the_model(self) -> None:
        assert self.lines == _expected(self.fed)

    @invariant()
    def keeps_no_more_than_one_line(self) -> None:
        assert len(self.splitter._partial) <= _MAX


TestSplitterMachine = SplitterMachine.TestCase


@given(st.lists(st.text("abc", max_size=8).map(str.encode)), st.integers(1, 9))
def test_where_the_chunks_are_cut_does_not_matter(lines: list[bytes], size: int) -> None:
    text = b"".join(line + b"\n" for line in lines)
    splitter = LineSplitter(8)
    out = [line for at in range(0, len(text), size) for line in splitter.feed(text[at : at + size])]
    assert [line.data for line in out] == lines
    assert splitter.rest() == []


def test_a_line_of_no_bytes_at_most_makes_no_sense() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        LineSplitter(0)
