"""Counts the events of a worker in counters and histograms.

Listens from the worker's first moment on, and loads nothing for it. Knows which observation counts
where; not what the numbers are for, or who reads them.
"""

from __future__ import annotations

from collections.abc import Callable

from .. import events as seen
from ..events import Handlers, Listener
from . import families
from .tallies import Counter, Family, Histogram, Reading


class WorkerTallies(Listener[seen.Observation]):
    """One worker's counters and histograms; itself an `Observe`."""

    def __init__(self) -> None:
        self._counters: dict[str, Counter] = {}
        self._histograms: dict[str, Histogram] = {}
        super().__init__(
            {
                **self._about_offers(),
                **self._about_jobs(),
                **self._about_processes(),
                **self._about_the_registry(),
                **self._about_the_journal(),
            }
        )

    def read(self) -> tuple[Reading, ...]:
        """Everything that has been counted so far."""
        counters = (counter.read() for counter in self._counters.values())
        return (*counters, *(histogram.read() for histogram in self._histograms.values()))

    def _counter(self, family: Family) -> Callable[..., None]:
        return self._counters.setdefault(family.name, Counter(family)).add

    def _histogram(self, family: Family) -> Callable[..., None]:
        return self._histograms.setdefault(family.name, Histogram(family)).add

    def _about_offers(self) -> Handlers:
        accepted = self._counter(families.OFFERS_ACCEPTED)
        refused = self._counter(families.OFFERS_REFUSED)
        expired = self._counter(families.PROMISES_EXPIRED)
        not_taken = self._counter(families.ASSIGNMENTS_REFUSED)
        repeated = self._counter(families.ASSIGNMENTS_REPEATED)
        terminations = self._counter(families.TERMINATIONS)

        def answered(offer: seen.OfferAnswered) -> None:
            if offer.refusal is None:
                accepted()
            else:
                refused(offer.refusal)

        return {
            seen.OfferAnswered: answered,
            seen.PromiseExpired: lambda _: expired(),
            seen.AssignmentRefused: lambda refusal: not_taken(refusal.refusal),
            seen.AssignmentRepeated: lambda _: repeated(),
            seen.TerminationReceived: lambda it: terminations("here" if it.is_here else "unknown"),
        }

    def _about_jobs(self) -> Handlers:
        transitions = self._counter(families.TRANSITIONS_OF_JOBS)
        ended = self._counter(families.JOBS_ENDED)
        lived = self._histogram(families.JOB_SECONDS)
        stages = self._histogram(families.STAGE_SECONDS)
        recovered = self._counter(families.JOBS_RECOVERED)
        lag = self._histogram(families.LOOP_LAG)
        blocks = self._counter(families.LOOP_BLOCKS)
        memory = self._counter(families.MEMORY_WARNINGS)

        def moved(move: seen.JobMoved) -> None:
            transitions(move.previous, move.state)
            if move.state in families.ENDS:
                ended(move.state, move.cause)
                lived(move.age_seconds, move.state)

        def was_recovered(job: seen.JobRecovered) -> None:
            recovered("interrupted" if job.is_interrupted else "ended")

        return {
            seen.JobMoved: moved,
            seen.StageTook: lambda took: stages(took.seconds, took.stage),
            seen.JobRecovered: was_recovered,
            seen.JobAnswered: lambda answer: lag(answer.lag_seconds),
            seen.LoopBlocked: lambda _: blocks(),
            seen.MemoryWarned: lambda _: memory(),
        }

    def _about_processes(self) -> Handlers:
        started = self._counter(families.PROCESSES_STARTED)
        failed = self._counter(families.PROCESSES_FAILED)
        given = self._counter(families.PROCESSES_GIVEN)
        ended = self._counter(families.PROCESSES_ENDED)
        died = self._counter(families.IDLE_PROCESSES_DIED)
        ready = self._histogram(families.PROCESS_READY_SECONDS)

        def has_ended(process: seen.ProcessEnded) -> None:
            ended(process.how)
            if process.was_idle:
                died()

        return {
            seen.ProcessStarted: lambda _: started(),
            seen.ProcessReady: lambda process: ready(process.seconds),
            seen.ProcessFailed: lambda failure: failed(failure.cause),
            seen.ProcessGiven: lambda process: given("warm" if process.is_warm else "cold"),
            seen.ProcessEnded: has_ended,
        }

    def _about_the_registry(self) -> Handlers:
        opened = self._counter(families.SESSIONS_OPENED)
        ended = self._counter(families.SESSIONS_ENDED)
        failed = self._counter(families.ATTEMPTS_FAILED)
        received = self._counter(families.FRAMES_RECEIVED)
        ignored = self._counter(families.FRAMES_IGNORED)
        queued = self._counter(families.MESSAGES_QUEUED)
        dropped = self._counter(families.MESSAGES_DROPPED)
        proven = self._counter(families.MESSAGES_PROVEN)
        pings = self._histogram(families.LINK_SECONDS)

        def was_queued(message: seen.MessageQueued) -> None:
            (dropped if message.is_dropped else queued)(message.kind)

        def is_over(session: seen.RegistrySessionEnded) -> None:
            ended("closed" if session.lost_because is None else "lost")

        return {
            seen.RegistrySessionOpened: lambda _: opened(),
            seen.RegistrySessionEnded: is_over,
            seen.AttemptFailed: lambda failure: failed(failure.cause),
            seen.FrameReceived: lambda frame: received(frame.kind),
            seen.FrameIgnored: lambda frame: ignored(frame.kind),
            seen.MessageQueued: was_queued,
            seen.MessageProven: lambda message: proven(message.kind),
            seen.LinkAnswered: lambda answer: pings(answer.seconds),
        }

    def _about_the_journal(self) -> Handlers:
        records = self._counter(families.JOURNAL_RECORDS)
        writes = self._histogram(families.JOURNAL_SECONDS)
        failures = self._counter(families.JOURNAL_FAILURES)

        def wrote(batch: seen.JournalWrote) -> None:
            records(amount=batch.records)
            writes(batch.seconds)

        return {seen.JournalWrote: wrote, seen.JournalGivenUp: lambda _: failures()}
