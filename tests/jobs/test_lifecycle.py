"""A job's lifecycle: one `running`, one terminal update, and the terminal one is the last."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from vsdk_trio.errors import IllegalTransitionError
from vsdk_trio.jobs.lifecycle import AgentParticipant, JobLifecycle, JobState, StopCause, Update
from vsdk_trio.protocol.vocabulary import JobFact

AGENT = AgentParticipant("agent-1", "Agent")
ENDS = tuple(fact for fact in JobFact if fact is not JobFact.RUNNING)


def running(*, wait: bool = False) -> JobLifecycle:
    job = JobLifecycle(wait=wait)
    job.start()
    job.enter()
    return job


def test_a_job_that_returns() -> None:
    job = JobLifecycle()
    assert job.state is JobState.ASSIGNED
    job.start()
    assert job.enter() == Update(JobFact.RUNNING)
    end = job.finish(JobFact.COMPLETED)
    assert end == Update(JobFact.COMPLETED)
    assert end.is_terminal
    assert job.exit("exit code 0") is None
    assert repr(job) == "<JobLifecycle completed>"


def test_waiting_for_the_room_holds_running_back() -> None:
    job = JobLifecycle(wait=True)
    job.start()
    assert job.enter() is None
    assert job.join(AGENT) == Update(JobFact.RUNNING, participant=AGENT)
    assert job.join(AGENT) is None


def test_a_job_that_has_not_begun_may_get_another_process() -> None:
    job = JobLifecycle()
    job.start()
    job.lose()
    assert job.state is JobState.ASSIGNED
    job.start()
    assert job.enter() == Update(JobFact.RUNNING)


@pytest.mark.parametrize("wait", [False, True])
def test_a_job_that_has_begun_is_not_begun_again(wait: bool) -> None:
    job = JobLifecycle(wait=wait)
    job.start()
    job.enter()
    with pytest.raises(IllegalTransitionError, match="cannot lose its process"):
        job.lose()


def test_a_job_that_waits_for_its_room_has_begun_once() -> None:
    job = JobLifecycle(wait=True)
    job.start()
    with pytest.raises(IllegalTransitionError, match="a job that is starting cannot join"):
        job.join(AGENT)
    job.enter()
    assert job.state is JobState.JOINING
    with pytest.raises(IllegalTransitionError, match="a job that is joining cannot enter"):
        job.enter()


def test_joining_without_waiting_tells_nothing_new() -> None:
    assert running().join(AGENT) is None


def test_a_stopped_job_is_cancelled_with_the_reason_it_was_given_first() -> None:
    job = running()
    assert job.stop(StopCause("terminated: by an operator"))
    assert not job.stop(StopCause("worker is shutting down"))
    assert job.stop_cause == StopCause("terminated: by an operator")
    assert job.finish(JobFact.CANCELLED, "stopped") == Update(
        JobFact.CANCELLED, "terminated: by an operator"
    )


def test_a_job_stopped_for_its_own_fault_has_failed() -> None:
    job = running()
    job.stop(StopCause("ran longer than 5 s", is_fault=True))
    assert job.finish(JobFact.CANCELLED) == Update(JobFact.FAILED, "ran longer than 5 s")


def test_a_job_that_ends_by_itself_while_it_is_stopped_keeps_its_own_end() -> None:
    job = running()
    job.stop(StopCause("terminated"))
    assert job.finish(JobFact.COMPLETED) == Update(JobFact.COMPLETED)


def test_a_job_that_nobody_stopped_can_be_cancelled_from_within() -> None:
    assert running().finish(JobFact.CANCELLED, "SIGTERM") == Update(JobFact.CANCELLED, "SIGTERM")


def test_a_job_stopped_before_a_process_had_it() -> None:
    job = JobLifecycle()
    job.stop(StopCause("terminated"))
    assert job.abandon() == Update(JobFact.NOT_BEGUN, "terminated; the job had not begun")
    assert job.state is JobState.CANCELLED


def test_a_job_at_fault_before_a_process_had_it() -> None:
    job = JobLifecycle()
    job.stop(StopCause("too large", is_fault=True))
    assert job.abandon() == Update(JobFact.FAILED, "too large")


def test_a_job_stopped_in_its_process_before_its_entrypoint_began() -> None:
    job = JobLifecycle()
    job.start()
    job.stop(StopCause("terminated"))
    assert job.finish(JobFact.CANCELLED).fact is JobFact.NOT_BEGUN


def test_a_job_that_began_while_it_was_stopped_is_cancelled() -> None:
    job = JobLifecycle()
    job.start()
    job.stop(StopCause("terminated"))
    job.enter()
    assert job.finish(JobFact.CANCELLED) == Update(JobFact.CANCELLED, "terminated")


def test_a_stop_while_starting_suppresses_running() -> None:
    job = JobLifecycle()
    job.start()
    job.stop(StopCause("terminated"))
    assert job.enter() is None
    assert job.join(AGENT) is None


@pytest.mark.parametrize("state", ["assigned", "starting", "running"])
def test_a_silent_exit_is_a_failure_in_every_state(state: str) -> None:
    job = JobLifecycle()
    if state != "assigned":
        job.start()
    if state == "running":
        job.enter()
    assert job.exit("killed by SIGKILL") == Update(JobFact.FAILED, "killed by SIGKILL")


def test_a_job_that_had_to_be_killed_says_why_and_how() -> None:
    job = running()
    job.stop(StopCause("terminated"))
    assert job.exit("killed by SIGKILL") == Update(JobFact.FAILED, "terminated; killed by SIGKILL")


def test_an_end_is_the_end() -> None:
    job = running()
    job.finish(JobFact.COMPLETED)
    assert not job.stop(StopCause("late"))
    with pytest.raises(IllegalTransitionError, match="a job that is completed cannot finish"):
        job.finish(JobFact.FAILED)


def test_a_job_cannot_finish_as_running() -> None:
    with pytest.raises(IllegalTransitionError, match="cannot finish as running"):
        running().finish(JobFact.RUNNING)


class LifecycleMachine(RuleBasedStateMachine):
    """Any events in any order: what comes out is at most `running`, then exactly one end."""

    def __init__(self) -> None:
        super().__init__()
        self.wait = False
        self.job = JobLifecycle()
        self.told: list[Update] = []

    @rule(wait=st.booleans())
    def new_job(self, wait: bool) -> None:
        self.job = JobLifecycle(wait=wait)
        self.told = []

    def _feed(self, event: str, *arguments: object) -> None:
        before = (self.job.state, self.job.stop_cause)
        try:
            update = getattr(self.job, event)(*arguments)
        except IllegalTransitionError:
            assert (self.job.state, self.job.stop_cause) == before
        else:
            if isinstance(update, Update):
                self.told.append(update)

    @rule(event=st.sampled_from(["start", "enter", "abandon", "lose"]))
    def plain(self, event: str) -> None:
        self._feed(event)

    @rule()
    def join(self) -> None:
        self._feed("join", AGENT)

    @rule(is_fault=st.booleans())
    def stop(self, is_fault: bool) -> None:
        self._feed("stop", StopCause("why", is_fault))

    @rule(fact=st.sampled_from(list(JobFact)))
    def finish(self, fact: JobFact) -> None:
        self._feed("finish", fact)

    @rule()
    def exit(self) -> None:
        self._feed("exit", "gone")
        assert self.job.state.is_end

    @invariant()
    def at_most_one_running_then_one_end(self) -> None:
        facts = [u.fact for u in self.told]
        assert facts.count(JobFact.RUNNING) <= 1
        assert sum(u.is_terminal for u in self.told) == int(self.job.state.is_end)
        assert not any(u.is_terminal for u in self.told[:-1])
        if self.told and self.told[-1].is_terminal:
            assert self.told[-1].fact in ENDS


TestLifecycleMachine = LifecycleMachine.TestCase
