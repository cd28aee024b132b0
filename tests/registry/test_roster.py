"""Which worker is asked first, and what is remembered of workers that are gone."""

from __future__ import annotations

from typing import Any

import pytest

from vsdk_trio.errors import IllegalTransitionError
from vsdk_trio.registry.workers import Roster, Worker, least_loaded


def worker(worker_id: str, **fields: Any) -> Worker:
    return Worker(worker_id=worker_id, agent_id="a", **fields)


@pytest.mark.parametrize(
    ("fields", "is_taking"),
    [
        ({}, True),
        ({"status": "busy"}, True),
        ({"status": "a word nobody knows"}, True),
        ({"status": "draining"}, False),
        ({"status": "offline"}, False),
        ({"status": "error"}, False),
        ({"away": True}, False),
        ({"capacity": 2, "jobs": frozenset({"j"})}, True),
        ({"capacity": 1, "jobs": frozenset({"j"})}, False),
    ],
)
def test_who_may_be_offered_a_job(fields: dict[str, Any], is_taking: bool) -> None:
    assert worker("w", **fields).is_taking is is_taking


def test_load_first_then_jobs_then_who_was_not_asked_for_longest() -> None:
    assert least_loaded([]) is None
    idle, busy = worker("idle", load=0.1), worker("busy", load=0.2)
    assert least_loaded([busy, idle]) is idle
    one = worker("one", capacity=10, job_count=1, jobs=frozenset({"j"}))
    none = worker("none", capacity=10)
    assert least_loaded([one, none]) is none
    earlier, later = worker("earlier", turn=1), worker("later", turn=2)
    assert least_loaded([later, earlier]) is earlier


def test_what_was_put_on_a_worker_since_its_report_counts_as_load() -> None:
    offered = worker("w", capacity=4, load=0.25, job_count=1, jobs=frozenset({"j1", "j2", "j3"}))
    assert offered.expected_load == 0.75
    assert offered.adoptable == 1
    silent = worker("w", jobs=frozenset({"j1"}))
    assert silent.expected_load == pytest.approx(0.1)


def test_a_worker_that_is_away_is_kept_while_it_holds_jobs() -> None:
    roster = Roster()
    roster.join(worker("w"))
    roster.hold("w", "j")
    roster.change("w", away=True)
    assert roster.of_agent("a") == ()
    with pytest.raises(IllegalTransitionError):
        roster.linked("w")
    assert roster.join(worker("w")).jobs == {"j"}
    roster.change("w", away=True)
    roster.let_go("w", "j")
    assert roster.all() == ()
    roster.let_go("w", "j")  # forgotten already
    assert roster.get("w") is None


def test_agents_are_remembered_within_a_bound() -> None:
    roster = Roster(max_agents=2)
    for n, agent_id in enumerate(["a", "b", "a", "c"]):
        roster.join(Worker(worker_id=str(n), agent_id=agent_id))
    assert [roster.has_served(agent_id) for agent_id in "abc"] == [True, False, True]
