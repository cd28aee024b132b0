"""What has become of jobs, offers and the worker lately: short memories, filled as things happen.

Knows observations and bounds; nothing is measured here, and nothing runs. Moments are Unix time.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import Any, Final

import attrs

from .. import observations as seen
from .._change import Change

MAX_ENDED: Final = 50
MAX_REFUSALS: Final = 50
MAX_EVENTS: Final = 100
MAX_LOAD_POINTS: Final = 500
MAX_OFFERS: Final = 100
_MAX_TEXT: Final = 300
_ENDS: Final = frozenset({"completed", "failed", "cancelled"})


@attrs.define(kw_only=True)
class JobStory:
    """One job: where it has been and since when, what each stage took, and how it ended."""

    job_id: str
    room_id: str
    moves: list[tuple[str, float]] = attrs.field(factory=list)
    """(state, when it came into it)"""
    stages: dict[str, float] = attrs.field(factory=dict)
    """Seconds by `Stage`."""
    cause: str | None = None
    error: str | None = None
    is_told: bool = False
    """The registry is being told of its end."""

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


class History:
    """Listens to a worker: `observers.add(history)`.

    Arguments: `clock`, Unix time now.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.change = Change()
        """Notified with each observation: somebody may be looking."""
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

    def __call__(self, observation: seen.Observation) -> None:
        """Remember what is worth it; the `Observe` of the worker."""
        self.change.notify()
        match observation:
            case seen.OfferAnswered(refusal=None):
                self.accepted += 1
            case seen.OfferAnswered(refusal=str() as refusal, reason=reason):
                self._refused(observation.job_id, refusal, reason or "")
            case seen.AssignmentRefused():
                self._refused(observation.job_id, observation.refusal, observation.reason)
            case seen.StatusReported(load=load):
                self._reported(load)
            case seen.JobMoved():
                self._moved(observation)
            case seen.StageTook():
                self._took(observation)
            case seen.JobTold():
                if (job := self.job(observation.job_id)) is not None:
                    job.error = _cut(observation.error)
                    job.is_told = job.has_ended
            case (
                seen.SessionOpened()
                | seen.SessionEnded()
                | seen.AttemptFailed()
                | seen.ProcessFailed()
                | seen.ShutdownAdvanced()
                | seen.JournalGivenUp()
                | seen.JobRecovered()
                | seen.LoopBlocked()
                | seen.LoopFreed()
                | seen.MemoryWarned()
            ):
                self._happened(observation)
            case _:
                pass

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

    # Inside

    def _reported(self, load: float) -> None:
        points = self._load
        if len(points) > 1 and points[-1][1] == points[-2][1] == load:
            points.pop()  # a level stretch needs its two ends only
        points.append((self._clock(), load))

    def _refused(self, job_id: str, refusal: str, reason: str) -> None:
        self.refused[refusal] += 1
        now, text = self._clock(), _cut(reason) or ""
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
            new = JobStory(job_id=move.job_id, room_id=move.room_id)
            if (took := self._offers.pop(move.job_id, None)) is not None:
                new.stages[seen.Stage.OFFER_TO_ANSWER.value] = took
            self._live[move.job_id] = new
        if (job := self._live.get(move.job_id)) is None:
            return
        job.moves.append((move.state, self._clock()))
        job.cause = move.cause or job.cause
        if job.has_ended:
            self.ended[job.state] += 1
            self._ended.append(self._live.pop(job.job_id))

    def _took(self, took: seen.StageTook) -> None:
        if took.stage is seen.Stage.OFFER_TO_ANSWER:
            self._offers[took.job_id] = took.seconds
            if len(self._offers) > MAX_OFFERS:
                del self._offers[next(iter(self._offers))]
            return
        if (job := self.job(took.job_id)) is not None:
            job.stages[took.stage.value] = took.seconds

    def _happened(self, observation: seen.Observation) -> None:
        data = {
            name: _cut(value) if isinstance(value, str) else value
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


def _cut(text: str | None) -> str | None:
    return text if text is None or len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 1] + "…"


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).removeprefix("_")
