"""The checker of the soak finds what it is there to find, and nothing else."""

from __future__ import annotations

import pytest

from .record import End, Story

BUG = "ValueError: the agent has a bug (agent.py:1 in entrypoint)"
SIGKILL = "the job process was killed by SIGKILL (out of memory?)"


def story(*did: str, ends: list[End], accepted: int = 1, pid: int | None = 7) -> Story:
    return Story(accepted=accepted, did=["entered", *did] if pid else [], ends=ends, pid=pid)


@pytest.mark.parametrize(
    "good",
    [
        story("returned", "callback", ends=[("completed", "")]),
        story("returned", ends=[("completed", ""), ("completed", "")]),
        story("raised", "callback", ends=[("failed", BUG)]),
        story("cancelled", "callback", ends=[("cancelled", "terminated: enough")]),
        story("callback", ends=[("cancelled", "terminated: enough")]),
        story(pid=None, ends=[("cancelled", "terminated: enough")]),
    ],
)
def test_a_story_that_holds_together(good: Story) -> None:
    assert good.breaches(set()) == []
    assert good.breaches({7}) == []  # killed after its last word


@pytest.mark.parametrize("did", [(), ("raised",), ("returned",)])
def test_a_process_that_was_killed(did: tuple[str, ...]) -> None:
    killed = story(*did, ends=[("failed", SIGKILL)])
    assert killed.breaches({7}) == []
    assert len(killed.breaches({8})) == 1


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (story("returned", ends=[]), "has no end"),
        (story("returned", ends=[("failed", "worker lost")]), "was said to have ended"),
        (story("returned", ends=[("completed", ""), ("failed", "x")]), "ended differently"),
        (story("raised", ends=[("completed", "")]), "was said to have ended"),
        (story("raised", ends=[("failed", "KeyError")]), "was said to have ended"),
        (story("cancelled", ends=[("completed", "")]), "was said to have ended"),
        (story("returned", "entered", ends=[("completed", "")]), "ran twice"),
        (story("returned", "callback", "callback", ends=[("completed", "")]), "callback twice"),
        (story("returned", ends=[("completed", "")], accepted=0), "accepted 0 times"),
        (story("returned", ends=[("completed", "")], accepted=2), "accepted 2 times"),
    ],
)
def test_a_story_that_does_not(bad: Story, says: str) -> None:
    (breach,) = bad.breaches(set())
    assert says in breach
