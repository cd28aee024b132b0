"""Whether the worker may take a job: slots, promises, and the reasons for a refusal.

Pure: time comes in as `now`, load as a number. It knows job ids only. At all times
`reserved + running <= max_processes`.
"""

from __future__ import annotations

from enum import StrEnum

import attrs

from ..errors import IllegalTransitionError


@attrs.frozen
class Reservation:
    """A slot that is held for a job; `expires_at` is None until the worker has promised it."""

    job_id: str
    expires_at: float | None = None


class RefusalCause(StrEnum):
    """Why an offer or an assignment is refused; the words of counters and logs."""

    AT_CAPACITY = "at capacity"
    OVERLOADED = "overloaded"
    CLOSED = "closed"
    CANNOT_START = "no job process comes up"
    RUNNING = "already running"
    # Not for a lack of room; decided outside of here.
    ENDED = "already ended"
    DECLINED = "request_fnc declined"
    UNDECIDED = "request_fnc timed out"
    BROKEN = "request_fnc failed"


@attrs.frozen
class Refusal:
    """A refusal: a cause for counters, and a text for a person."""

    cause: RefusalCause
    reason: str


class Admission:
    """Counts the slots of one worker.

    Args:
        max_processes: How many jobs may run at the same time, promises included.
        load_threshold: Offers are refused while the load is above this.
    """

    def __init__(self, *, max_processes: int, load_threshold: float) -> None:
        self.max_processes = max_processes
        self.load_threshold = load_threshold
        self._reserved: dict[str, Reservation] = {}
        self._running: set[str] = set()
        self._closed_because: str | None = None

    def __repr__(self) -> str:
        return (
            f"<Admission {self.running} running, {self.reserved} reserved of {self.max_processes}>"
        )

    @property
    def reserved(self) -> int:
        return len(self._reserved)

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def is_full(self) -> bool:
        return self.reserved + self.running >= self.max_processes

    @property
    def share_in_use(self) -> float:
        """The share of the slots that is taken or promised, from 0 to 1."""
        return (self.reserved + self.running) / self.max_processes

    @property
    def next_expiry(self) -> float | None:
        """When the next promise expires; None while there is none."""
        times = [r.expires_at for r in self._reserved.values() if r.expires_at is not None]
        return min(times, default=None)

    def close(self, reason: str) -> None:
        """Take no new jobs from now on; earlier promises are kept. The first reason stays."""
        self._closed_because = self._closed_because or reason

    def revoke(self) -> None:
        """Free every slot that is only promised; its assignment is refused from now on."""
        self._reserved.clear()

    def offer(
        self, job_id: str, *, load: float | None = None, trouble: str | None = None
    ) -> Reservation | Refusal:
        """Decide whether the job can be taken; a `Reservation` holds its slot, also for a repeat.

        Args:
            job_id: The job.
            load: The result of `load_fnc`; None if there is none.
            trouble: Why no job can be run at the moment.
        """
        if self._closed_because is not None:
            return Refusal(RefusalCause.CLOSED, self._closed_because)
        if job_id in self._running:
            return Refusal(RefusalCause.RUNNING, f"job {job_id} already runs here")
        if (held := self._reserved.get(job_id)) is not None:
            return held
        if trouble is not None:
            return Refusal(RefusalCause.CANNOT_START, trouble)
        if self.is_full:
            return self._at_capacity()
        if load is not None and load > self.load_threshold:
            text = f"overloaded: load {load:.2f} is above the threshold {self.load_threshold:.2f}"
            return Refusal(RefusalCause.OVERLOADED, text)
        reservation = Reservation(job_id)
        self._reserved[job_id] = reservation
        return reservation

    def promise(self, job_id: str, *, expires_at: float) -> Refusal | None:
        """Hold the slot until `expires_at`, unless it was claimed already; the answer will be yes.

        Returns:
            None if the answer may be yes; a refusal if the slot is no longer held.
        """
        if job_id in self._reserved:
            self._reserved[job_id] = Reservation(job_id, expires_at)
        elif job_id not in self._running:
            return Refusal(RefusalCause.CLOSED, self._closed_because or "the slot was given up")
        return None

    def withdraw(self, job_id: str) -> None:
        """Free the slot: the answer is no after all. Does nothing for a job that has none."""
        self._reserved.pop(job_id, None)

    def claim(self, job_id: str) -> Refusal | None:
        """Give a slot to a job that was assigned.

        A job that was promised has its slot. One that comes late, or without an offer, is taken if
        there is room and the worker is open.

        Returns:
            None if it has a slot now; else the refusal.
        """
        if job_id in self._running:
            return Refusal(RefusalCause.RUNNING, f"job {job_id} already runs here")
        if self._reserved.pop(job_id, None) is None:
            if self._closed_because is not None:
                return Refusal(RefusalCause.CLOSED, self._closed_because)
            if self.is_full:
                return self._at_capacity()
        self._running.add(job_id)
        return None

    def release(self, job_id: str) -> None:
        """Free the slot of a job that is over.

        Raises:
            IllegalTransitionError: The job was not running.
        """
        if job_id not in self._running:
            raise IllegalTransitionError(f"job {job_id} has no slot to release")
        self._running.remove(job_id)

    def expire(self, now: float) -> tuple[str, ...]:
        """Free the slots whose promises have expired, and return their job ids."""
        late = tuple(
            job_id
            for job_id, held in self._reserved.items()
            if held.expires_at is not None and held.expires_at <= now
        )
        for job_id in late:
            del self._reserved[job_id]
        return late

    def _at_capacity(self) -> Refusal:
        used = f"{self.running} running and {self.reserved} promised of {self.max_processes}"
        return Refusal(RefusalCause.AT_CAPACITY, f"at capacity: {used}")
