"""Says how far a job has come: each state of its lifecycle, and each stage of its dispatch.

Looks at the lifecycle and the clock; decides nothing, and keeps nothing of a job that has ended.
"""

from __future__ import annotations

import trio

from ..jobs.lifecycle import JobLifecycle, JobState
from ..telemetry.events import DispatchStage, JobMoved, Observe, StageTook


class JobProgress:
    """Follows one job from the moment that it was accepted, on Trio's clock.

    Says nothing by itself: the way to the job's first line is short, and the first call of `follow`
    may wait until the job's process has been told.
    """

    def __init__(
        self,
        lifecycle: JobLifecycle,
        *,
        job_id: str,
        room_id: str,
        accepted_at: float,
        observe: Observe,
    ) -> None:
        self._lifecycle = lifecycle
        self._job_id = job_id
        self._room_id = room_id
        self._observe = observe
        self._said: JobState | None = None
        self._accepted_at = self._entered_state_at = self._began_stage_at = accepted_at

    def follow(self) -> None:
        """To be called after whatever may have moved the job: say so if it has."""
        if self._said is None:
            self._moved(self._accepted_at)
        elif self._lifecycle.state is not self._said:
            self._moved(trio.current_time())

    def entrypoint_began(self) -> None:
        """The job's process says that it is about to run the entrypoint; may have moved the job."""
        now = trio.current_time()
        self._stage_took(DispatchStage.PROCESS_TO_ENTRYPOINT, now)
        if self._lifecycle.state is not self._said:
            self._moved(now)

    def _moved(self, now: float) -> None:
        state, cause = self._lifecycle.state, self._lifecycle.end_cause
        self._observe(
            JobMoved(
                job_id=self._job_id,
                room_id=self._room_id,
                previous=None if self._said is None else str(self._said),
                state=str(state),
                seconds=now - self._entered_state_at,
                age_seconds=now - self._accepted_at,
                cause=None if cause is None else str(cause),
            )
        )
        self._said, self._entered_state_at = state, now
        if state is JobState.STARTING:
            self._stage_took(DispatchStage.ASSIGNMENT_TO_PROCESS, now)
        elif state is JobState.RUNNING:
            self._stage_took(DispatchStage.ENTRYPOINT_TO_RUNNING, now)

    def _stage_took(self, stage: DispatchStage, now: float) -> None:
        seconds, self._began_stage_at = now - self._began_stage_at, now
        self._observe(StageTook(job_id=self._job_id, stage=stage, seconds=seconds))
