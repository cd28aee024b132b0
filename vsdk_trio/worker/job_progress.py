"""Says how far a job has come: each state of its lifecycle, and each stage of its dispatch.

Looks at the lifecycle and the clock; decides nothing, and keeps nothing of a job that has ended.
"""

from __future__ import annotations

import trio

from ..jobs.lifecycle import JobLifecycle, JobState
from ..observations import JobMoved, Observe, Stage, StageTook


class JobProgress:
    """Follows one job from the moment that it was accepted, which is now."""

    def __init__(
        self, lifecycle: JobLifecycle, *, job_id: str, room_id: str, observe: Observe
    ) -> None:
        self._lifecycle = lifecycle
        self._job_id = job_id
        self._room_id = room_id
        self._observe = observe
        self._said: JobState | None = None
        self._accepted_at = trio.current_time()
        self._entered_state_at = self._began_stage_at = self._accepted_at
        self.follow()

    def follow(self) -> None:
        """To be called after whatever may have moved the job: say so if it has."""
        state = self._lifecycle.state
        if state is self._said:
            return
        now = trio.current_time()
        cause = self._lifecycle.end_cause
        self._observe(
            JobMoved(
                job_id=self._job_id,
                room_id=self._room_id,
                previous=None if self._said is None else self._said.name.lower(),
                state=state.name.lower(),
                seconds=now - self._entered_state_at,
                age_seconds=now - self._accepted_at,
                cause=None if cause is None else cause.value,
            )
        )
        self._said, self._entered_state_at = state, now
        if state is JobState.STARTING:
            self._stage_took(Stage.ASSIGNMENT_TO_PROCESS, now)
        elif state is JobState.RUNNING:
            self._stage_took(Stage.ENTRYPOINT_TO_RUNNING, now)

    def entrypoint_began(self) -> None:
        """The job's process says that it is about to run the entrypoint."""
        self._stage_took(Stage.PROCESS_TO_ENTRYPOINT, trio.current_time())

    def _stage_took(self, stage: Stage, now: float) -> None:
        seconds, self._began_stage_at = now - self._began_stage_at, now
        self._observe(StageTook(job_id=self._job_id, stage=stage, seconds=seconds))
