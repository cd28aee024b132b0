"""Which zombies process 1 may reap: only those that are nobody else's to wait for."""

from __future__ import annotations

import attrs
import pytest

from vsdk_trio.processes.orphans import REAP_SECONDS, AdoptedZombies, ProcessRow

ME, SESSION = 1, 1
LIVING = ProcessRow(pid=50, parent=40, session=40, started=7, is_zombie=False)
DEAD_CHILD = attrs.evolve(LIVING, parent=ME, is_zombie=True)


def reaped(*looks: list[ProcessRow]) -> list[int]:
    """What is reaped after these looks, and as many more at the last state as it takes."""
    orphans = AdoptedZombies(me=ME, session=SESSION)
    for now, rows in enumerate(looks):
        orphans.look(rows, float(now))
    return orphans.look(looks[-1], len(looks) + REAP_SECONDS)


def test_one_of_another_session_is_adopted() -> None:
    assert reaped([DEAD_CHILD]) == [50]


def test_one_that_was_seen_with_another_parent_is_adopted() -> None:
    leader = attrs.evolve(LIVING, session=50)
    orphan = attrs.evolve(leader, parent=ME)
    assert reaped([leader], [orphan], [attrs.evolve(orphan, is_zombie=True)]) == [50]


def test_one_that_a_job_has_started_is_adopted() -> None:
    orphan = attrs.evolve(LIVING, parent=ME, session=50, is_of_a_job=True)
    assert reaped([orphan], [attrs.evolve(orphan, is_of_a_job=False, is_zombie=True)]) == [50]


@pytest.mark.parametrize("session", [SESSION, 50])
def test_a_child_by_birth_is_left_to_who_waits_for_it(session: int) -> None:
    """`subprocess`, `multiprocessing` and trio, with a session of its own or without."""
    child = attrs.evolve(DEAD_CHILD, session=session)
    assert reaped([attrs.evolve(child, is_zombie=False)], [child]) == []


def test_a_later_process_with_the_same_number_is_another_one() -> None:
    child = ProcessRow(pid=50, parent=ME, session=50, started=8, is_zombie=True)
    assert reaped([LIVING], [child]) == []


def test_a_zombie_stays_for_a_while() -> None:
    orphans = AdoptedZombies(me=ME, session=SESSION)
    assert orphans.look([DEAD_CHILD], 10.0) == []
    assert orphans.look([DEAD_CHILD], 10.0 + REAP_SECONDS - 0.1) == []
    assert orphans.look([DEAD_CHILD], 10.0 + REAP_SECONDS) == [50]


def test_one_that_lives_is_not_reaped() -> None:
    assert reaped([attrs.evolve(DEAD_CHILD, is_zombie=False)]) == []
