"""What has become of jobs, offers and the worker lately: short memories, filled as things happen.

Knows observations and bounds; nothing is measured here, and nothing runs. Moments are Unix time.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import Any, Final

import attrs

from .._masking import cut
from ..jobs.short_ids import find_ids
from ..telemetry import events as seen
from ..telemetry.events import Listener

MAX_ENDED: Final = 50
MAX_REFUSALS: Final = 50
MAX_EVENTS: Final = 100
MAX_LOAD_POINTS: Final = 500
MAX_OFFERS: Final = 100
MAX_ERROR: Final = 4000
"""More than an update to the registry has: the page of a job shows its whole error."""
_MAX_TEXT: Final = 300
_ENDS: Final = frozenset({"completed", "failed", "cancelled"})
_EVENTS: Final = (
    seen.RegistrySessionOpened,
    seen.RegistrySessionEnded,
    seen.AttemptFailed,
    seen.ProcessFailed,
    seen.ShutdownAdvanced,
    seen.JournalGivenUp,
    seen.JobRecovered,
    seen.LoopBlocked,
    seen.LoopFreed,
    seen.MemoryWarned,
)


@attrs.define(kw_only=True)
class JobStory:
    """One job: where it has been and since when, what each stage took, and how it ended."""

    job_id: str
    room_id: str
    accepted_at: float
    moves: list[tuple[str, float]] = attrs.field(factory=list)
    """(state, when it came into it)"""
    stages: dict[str, float] = attrs.field(factory=dict)
    """Seconds by `Stage`."""
    cause: str | None = None
    error: str | None = None
    is_told: bool = False
    """Its end is being sent to the registry."""

    @property
    def state(self) -> str:
        """Where it is now."""
        return self.moves[-1][0]

    @property
    def has_ended(self) -> bool:
        """Has it come to its end?"""
        return self.state in _ENDS


@attrs.frozen(kw_only=True)
class RefusalNote:
    """An offer, or an assignment, that was answered with a no; `count` times in a row."""

    began_at: float
    at: float
    """The last time."""
    count: int = 1
    job_id: str
    refusal: str
    reason: str


class History(Listener[seen.Observation]):
    """Listens to a worker: `observers.add(history)`.

    Arguments: `clock`, Unix time now.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._live: dict[str, JobStory] = {}
        self._ended: deque[JobStory] = deque(maxlen=MAX_ENDED)
        self._offers: dict[str, float] = {}
        self._load: deque[tuple[float, float]] = deque(maxlen=MAX_LOAD_POINTS)
        self.refusals: deque[RefusalNote] = deque(maxlen=MAX_REFUSALS)
        self.events: deque[dict[str, Any]] = deque(maxlen=MAX_EVENTS)
        """What has happened to the worker itself: sessions, failures, its end."""
        self.refused: Counter[str] = Counter()
        """How many offers were refused, by the class of the reason."""
        self.ended: Counter[str] = Counter()
        """How many jobs have ended, by their end."""
        self.accepted = 0
        """How many offers were answered with a yes."""
        super().__init__(
            {
                seen.OfferAnswered: self._answered,
                seen.AssignmentRefused: self._refused,
                seen.StatusReported: self._reported,
                seen.JobMoved: self._moved,
                seen.StageTook: self._took,
                seen.JobTold: self._told,
                **dict.fromkeys(_EVENTS, self._happened),
            }
        )

    @property
    def load(self) -> list[tuple[float, float]]:
        """(when, load), oldest first: every change of it that was reported."""
        return list(self._load)

    def jobs(self) -> Iterator[JobStory]:
        """The live jobs and those that ended lately, the newest first."""
        yield from reversed(self._live.values())
        yield from reversed(self._ended)

    def job(self, job_id: str) -> JobStory | None:
        """The job of that id, as far as remembered."""
        if (live := self._live.get(job_id)) is not None:
            return live
        return next((job for job in reversed(self._ended) if job.job_id == job_id), None)

    def find(self, typed: str) -> list[JobStory]:
        """The job of that id, else all whose id begins so; see `_short_ids`."""
        known = {job.job_id: job for job in self.jobs()}
        return [known[job_id] for job_id in find_ids(typed, known)]

    # Inside

    def _answered(self, offer: seen.OfferAnswered) -> None:
        if offer.refusal is None:
            self.accepted += 1
        else:
            self._note_refusal(offer.job_id, offer.refusal, offer.reason or "")

    def _refused(self, assignment: seen.AssignmentRefused) -> None:
        self._note_refusal(assignment.job_id, assignment.refusal, assignment.reason)

    def _reported(self, status: seen.StatusReported) -> None:
        points, load = self._load, status.load
        if len(points) > 1 and points[-1][1] == points[-2][1] == load:
            points.pop()  # a level stretch needs its two ends only
        points.append((self._clock(), load))

    def _note_refusal(self, job_id: str, refusal: str, reason: str) -> None:
        self.refused[refusal] += 1
        now, text = self._clock(), _short(reason) or ""
        last = self.refusals[-1] if self.refusals else None
        if last is not None and (last.job_id, last.reason) == (job_id, text):
            # A registry may go on asking, as long as the job waits.
            self.refusals[-1] = attrs.evolve(last, at=now, count=last.count + 1)
            return
        self.refusals.append(
            RefusalNote(began_at=now, at=now, job_id=job_id, refusal=refusal, reason=text)
        )

    def _moved(self, move: seen.JobMoved) -> None:
        if move.previous is None:
            accepted_at = self._clock() - move.age_seconds
            job = JobStory(job_id=move.job_id, room_id=move.room_id, accepted_at=accepted_at)
            if (took := self._offers.pop(move.job_id, None)) is not None:
                job.stages[str(seen.DispatchStage.OFFER_TO_ANSWER)] = took
            self._live[move.job_id] = job
        elif (known := self._live.get(move.job_id)) is not None:
            job = known
        else:
            return
        job.moves.append((move.state, job.accepted_at + move.age_seconds))
        job.cause = move.cause or job.cause
        if move.state in _ENDS:
            self.ended[move.state] += 1
            self._ended.append(self._live.pop(move.job_id))

    def _took(self, took: seen.StageTook) -> None:
        stage = str(took.stage)
        if (live := self._live.get(took.job_id)) is not None:
            live.stages[stage] = took.seconds
        elif took.stage is seen.DispatchStage.OFFER_TO_ANSWER:
            self._offers[took.job_id] = took.seconds
            if len(self._offers) > MAX_OFFERS:
                del self._offers[next(iter(self._offers))]
        elif (ended := self.job(took.job_id)) is not None:
            ended.stages[stage] = took.seconds

    def _told(self, told: seen.JobTold) -> None:
        if told.status in _ENDS and (job := self.job(told.job_id)) is not None:
            job.error = _short(told.error, MAX_ERROR)
            job.is_told = True

    def _happened(self, observation: seen.Observation) -> None:
        data = {
            name: _short(value) if isinstance(value, str) else value
            for name, value in attrs.asdict(observation).items()
        }
        name = _snake(type(observation).__name__)
        self.events.append({"timestamp": self._clock(), "name": name, "data": data})


def events_of(job: JobStory | None) -> list[dict[str, Any]]:
    """What has happened to a job, as the published client's routes list it."""
    if job is None:
        return []
    return [
        {"timestamp": at, "name": f"job_{state}", "data": {"job_id": job.job_id}}
        for state, at in job.moves
    ]


def _short(text: str | None, most: int = _MAX_TEXT) -> str | None:
    return None if text is None else cut(text, most)


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).removeprefix("_")
