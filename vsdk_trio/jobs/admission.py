"""Whether the worker may take a job: slots, promises, and the reasons for a no.

Pure: time comes in as `now`, load as a number. It knows job ids only; who asks, who runs the job
and what is said on the wire are the business of others. At all times
`reserved + running <= max_processes`.
"""

from __future__ import annotations

from enum import StrEnum

import attrs

from ..errors import IllegalTransitionError


@attrs.frozen
class Reservation:
    """A slot held for a job; `expires_at` is None until the promise was made."""

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
    """A no: a cause to count by, and a text for a person."""

    cause: RefusalCause
    reason: str


class Admission:
    """Counts the slots of one worker.

    Arguments: `max_processes`, jobs at the same time, promises included; `load_threshold`, refuse
    offers while the load passed in is above it.
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
        """When the next promise runs out; None while there is none."""
        times = [r.expires_at for r in self._reserved.values() if r.expires_at is not None]
        return min(times, default=None)

    def close(self, reason: str) -> None:
        """Take nothing new from now on; promises already made are kept. The first reason stays."""
        self._closed_because = self._closed_because or reason

    def revoke(self) -> None:
        """Free every slot that was promised only; an assignment of it is refused from now on."""
        self._reserved.clear()

    def offer(
        self, job_id: str, *, load: float | None = None, trouble: str | None = None
    ) -> Reservation | Refusal:
        """Can the job be taken? A `Reservation` holds its slot, also when it is asked again.

        Arguments: `load`, what `load_fnc` says now; None where there is none; `trouble`, why no
        job can be run at the moment.
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
        """A yes is to be said: hold the slot until `expires_at`, unless it was claimed already.

        None where it may be said; the refusal where the slot is held no longer.
        """
        if job_id in self._reserved:
            self._reserved[job_id] = Reservation(job_id, expires_at)
        elif job_id not in self._running:
            return Refusal(RefusalCause.CLOSED, self._closed_because or "the slot was given up")
        return None

    def withdraw(self, job_id: str) -> None:
        """The answer became a no: free the slot. Does nothing for a job that has none held."""
        self._reserved.pop(job_id, None)

    def claim(self, job_id: str) -> Refusal | None:
        """The job was assigned; None when it has a slot now.

        A job that comes late or unasked is taken if there is room and the worker is open; one that
        was promised has its slot in any case.
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
        """The job is over and its process gone. Raises where it was not running."""
        if job_id not in self._running:
            raise IllegalTransitionError(f"job {job_id} has no slot to release")
        self._running.remove(job_id)

    def expire(self, now: float) -> tuple[str, ...]:
        """Free the slots whose promise has run out; returns their job ids."""
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
