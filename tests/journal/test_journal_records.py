"""What a sequence of records means."""

from __future__ import annotations

import pytest

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

DONE = JobEnd("a", JobFact.COMPLETED)
FAILED = JobEnd("a", JobFact.FAILED, "worker was restarted")


@pytest.mark.parametrize(
    ("records", "contents"),
    [
        ([], Contents()),
        ([WorkerIdGiven("w-1"), WorkerIdGiven("w-2")], Contents(worker_id="w-2")),
        ([RunBegan("x"), RunBegan("y"), RunBegan("x")], Contents(cookie_prefixes=("x", "y"))),
        ([RunBegan("x"), RunBegan("y"), RunsGone(("x", "z"))], Contents(cookie_prefixes=("y",))),
        ([Accepted("a")], Contents(jobs=(JobEntry("a"),))),
        ([Accepted("a"), DONE], Contents(jobs=(JobEntry("a", DONE),))),
        # The first end stands.
        ([Accepted("a"), DONE, FAILED], Contents(jobs=(JobEntry("a", DONE),))),
        # An end without a beginning is an end all the same.
        ([DONE], Contents(jobs=(JobEntry("a", DONE),))),
        (
            [Accepted("a"), DONE, Acknowledged("a")],
            Contents(jobs=(JobEntry("a", DONE, is_acknowledged=True),)),
        ),
        # Nothing is proven that has not ended, or is not here.
        ([Accepted("a"), Acknowledged("a"), Acknowledged("b")], Contents(jobs=(JobEntry("a"),))),
        # A job that is taken again begins again, as the last one.
        (
            [Accepted("a"), DONE, Accepted("b"), Accepted("a")],
            Contents(jobs=(JobEntry("b"), JobEntry("a"))),
        ),
    ],
)
def test_what_it_means(records: list[Record], contents: Contents) -> None:
    picture = JournalState()
    picture.apply(records)
    assert picture.contents == contents
    assert JournalState(contents).contents == contents


def test_only_what_is_proven_is_forgotten() -> None:
    picture = JournalState(remembered=2)
    for number in range(6):
        picture.apply([Accepted(f"job-{number}")])
        if number != 1:
            picture.apply(
                [JobEnd(f"job-{number}", JobFact.COMPLETED), Acknowledged(f"job-{number}")]
            )
    assert [entry.job_id for entry in picture.contents.jobs] == ["job-1", "job-4", "job-5"]
