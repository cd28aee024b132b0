"""Which worker is asked first, and what is remembered of workers that are gone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsdk_trio.errors import IllegalTransitionError
from vsdk_trio.registry.roster import RegisteredWorker, Roster


def worker(worker_id: str, **fields: Any) -> RegisteredWorker:
    return RegisteredWorker(worker_id=worker_id, agent_id="a", **fields)


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


def first(*workers: RegisteredWorker) -> str:
    """The id of the one to be asked."""
    roster = Roster()
    for each in workers:
        roster.join(each)
        for job_id in each.jobs:
            roster.hold(each.worker_id, job_id)
    return next(roster.candidates("a")).worker_id


def test_load_first_then_jobs_then_who_was_not_asked_for_longest() -> None:
    assert list(Roster().candidates("a")) == []
    assert first(worker("busy", load=0.2), worker("idle", load=0.1)) == "idle"
    one = worker("a", capacity=10, job_count=1, jobs=frozenset({"j"}))
    assert first(one, worker("none", capacity=10)) == "none"
    assert first(worker("a", turn=2), worker("earlier", turn=1)) == "earlier"
    assert first(worker("a", is_silent=True), worker("full", load=1.0)) == "full"


CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "status": st.sampled_from(["idle", "draining"]),
        "load": st.sampled_from([0.0, 0.1, 0.2]),
        "job_count": st.integers(0, 3),
        "away": st.booleans(),
        "is_silent": st.booleans(),
        "turn": st.integers(0, 3),
    },
)
NAMES = st.sampled_from(["w1", "w2", "w3"])
AGENTS = {"w1": "a", "w2": "a", "w3": "b"}
STEPS = st.one_of(
    st.tuples(st.just("join"), NAMES, st.just(None)),
    st.tuples(st.just("change"), NAMES, CHANGES),
    st.tuples(st.just("hold"), NAMES, st.sampled_from("jkl")),
    st.tuples(st.just("let_go"), NAMES, st.sampled_from("jkl")),
)


def place(each: RegisteredWorker) -> tuple[Any, ...]:
    jobs = len(each.jobs)
    return (each.is_silent, each.expected_load, jobs, each.turn, each.worker_id)


@given(st.lists(STEPS, max_size=40))
def test_whatever_happens_the_candidates_are_those_that_may_be_asked_in_order(
    steps: list[tuple[str, str, Any]],
) -> None:
    roster = Roster()
    for what, worker_id, argument in steps:
        if what == "join":
            roster.join(
                RegisteredWorker(worker_id=worker_id, agent_id=AGENTS[worker_id], capacity=2)
            )
        elif roster.get(worker_id) is not None:
            if what == "change":
                roster.change(worker_id, **argument)
            else:
                getattr(roster, what)(worker_id, argument)
        for agent_id in "ab":
            own = [each for each in roster.all() if each.agent_id == agent_id]
            taking = sorted((each for each in own if each.is_taking), key=place)
            assert list(roster.candidates(agent_id)) == taking
            assert roster.has_link(agent_id) is any(not each.away for each in own)
            assert all(roster.is_linked(each.worker_id) is not each.away for each in own)


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
    assert not roster.has_link("a")
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
        roster.join(RegisteredWorker(worker_id=str(n), agent_id=agent_id))
    assert [roster.has_served(agent_id) for agent_id in "abc"] == [True, False, True]
