"""Ids are shown short, and found by what is shown."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vsdk_trio.jobs.short_ids import SHORT, find_ids, name_candidates, shorten

UUIDS = st.uuids().map(str)
# Few letters, so that many begin alike, and some are the beginning of another.
ALIKE = st.text("ab", min_size=1, max_size=14)


@given(st.sets(UUIDS | ALIKE, max_size=20))
def test_what_is_shown_is_found(ids: set[str]) -> None:
    for whole, short in shorten(ids).items():
        assert whole.startswith(short)
        if len(short) < len(whole):
            assert len(short) >= SHORT
            assert find_ids(short, ids) == [whole]
            assert find_ids(f"{short}…", ids) == [whole]


@given(st.sets(UUIDS | ALIKE, max_size=20), ALIKE)
def test_it_is_itself_or_all_that_begin_so(ids: set[str], typed: str) -> None:
    found = find_ids(typed, ids)
    if typed in ids:
        assert found == [typed]
    else:
        assert set(found) == {i for i in ids if len(typed) >= 4 and i.startswith(typed)}


def test_examples() -> None:
    assert shorten(["e32b6455-1", "e32b6455-2", "aaaabbbbcccc", "run"]) == {
        "e32b6455-1": "e32b6455-1",
        "e32b6455-2": "e32b6455-2",
        "aaaabbbbcccc": "aaaabbbb",
        "run": "run",
    }
    assert find_ids("e3", ["e32b6455-1"]) == []
    assert find_ids("e32b6455", ["e32b6455-1", "e32b6455-2"]) == ["e32b6455-1", "e32b6455-2"]
    assert find_ids("", ["x"]) == find_ids("…", ["x"]) == []


def test_an_ambiguous_one_is_one_line_with_the_candidates() -> None:
    ids = [f"e32b6455-{n}" for n in range(12)]
    said = name_candidates("e32b6455", ids)
    assert said.startswith("'e32b6455' may mean 12: e32b6455-0, e32b6455-1, ")
    assert said.endswith("e32b6455-9 and 2 more; write more of the id")
    assert name_candidates("e32b", ids[:2]).count("more") == 1
    assert "\n" not in said
