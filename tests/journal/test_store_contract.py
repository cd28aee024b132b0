"""What every store of a journal does, be it in memory or in a file."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vsdk_trio.errors import JournalError, StateDirInUseError
from vsdk_trio.journal.records import (
    Accepted,
    Acknowledged,
    Contents,
    JobEnd,
    JobEntry,
    JournalState,
    Record,
    RunBegan,
    RunsGone,
    WorkerIdGiven,
)
from vsdk_trio.protocol.vocabulary import JobFact

from .conftest import FAST, Shelf, new_shelf

REMEMBERED = 3
ENDS = tuple(fact for fact in JobFact if fact is not JobFact.RUNNING)
ids = st.sampled_from(["a", "b", "c", "d", "job\0zero", "'; DROP TABLE jobs", "жоб"])
records: st.SearchStrategy[Record] = st.one_of(
    st.builds(WorkerIdGiven, st.text(min_size=1, max_size=5)),
    st.builds(RunBegan, ids),
    st.builds(RunsGone, st.lists(ids, max_size=3).map(tuple)),
    st.builds(Accepted, ids),
    st.builds(JobEnd, ids, st.sampled_from(ENDS), st.none() | st.text(max_size=20)),
    st.builds(Acknowledged, ids),
)
batches = st.lists(records, max_size=6)
CRASH, CLOSE = "crash", "close"


def test_a_new_one_is_empty(shelf: Shelf) -> None:
    store = shelf.open()
    assert store.load() == Contents()
    assert store.notice == ""


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@settings(
    deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=st.lists(st.one_of(batches, st.just(CRASH), st.just(CLOSE)), max_size=12))
def test_it_means_what_a_picture_means(kind: str, steps: list[list[Record] | str]) -> None:
    """After any batches, crashes and closings."""
    picture = JournalState(remembered=REMEMBERED)
    with (
        tempfile.TemporaryDirectory(dir=FAST) as directory,
        new_shelf(kind, Path(directory), remembered=REMEMBERED) as shelf,
    ):
        store = shelf.open()
        store.load()
        for step in steps:
            if isinstance(step, str):
                if step == CRASH:
                    shelf.crash()
                else:
                    store.close()
                store = shelf.open()
                assert store.load() == picture.contents
            else:
                store.apply(step)
                picture.apply(step)
        shelf.crash()
        assert shelf.open().load() == picture.contents


def test_one_worker_at_a_time(shelf: Shelf) -> None:
    first = shelf.open()
    first.load()
    with pytest.raises(StateDirInUseError, match=r"in use by another worker of 'agent'"):
        shelf.open()
    first.apply([Accepted("a")])  # the attempt has done no harm
    first.close()
    first.close()
    assert shelf.open().load() == Contents(jobs=(JobEntry("a"),))


def test_what_is_set_aside_is_not_found_again(shelf: Shelf) -> None:
    store = shelf.open()
    store.load()
    store.apply([Accepted("a")])
    store.set_aside()
    assert shelf.aside() == 1
    with pytest.raises(JournalError):
        store.apply([Accepted("b")])
    with pytest.raises(StateDirInUseError):
        shelf.open()  # still held: what was set aside is the content
    store.close()
    assert shelf.open().load() == Contents()


def test_what_makes_no_sense_is_kept_and_said(shelf: Shelf) -> None:
    store = shelf.open()
    store.load()
    store.apply([Accepted("a")])
    store.close()
    shelf.spoil()
    again = shelf.open()
    assert again.load() == Contents()
    assert "it is kept" in again.notice
    assert shelf.aside() == 1
    again.apply([Accepted("b")])
    again.close()
    third = shelf.open()
    assert third.load() == Contents(jobs=(JobEntry("b"),))
    assert third.notice == ""
