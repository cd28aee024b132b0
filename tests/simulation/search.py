"""Runs many worlds, in several processes if asked to, and adds up what they went through."""

from __future__ import annotations

import gc
import multiprocessing
import signal
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial

import attrs

from .mutations import mutated
from .schedule import generate
from .trace import Trace
from .world import run_world

CHUNK = 25
# A world is done within a fraction of a second; one that is not never will be.
REAL_SECONDS = 60


@attrs.define
class Summary:
    """What some worlds went through. `broken` are the seeds in which a promise was, and how."""

    seeds: int = 0
    simulated_seconds: float = 0.0
    workers: int = 0
    jobs: int = 0
    processes: int = 0
    sessions: int = 0
    frames: int = 0
    faults: Counter[str] = attrs.field(factory=Counter)
    broken: list[tuple[int, list[str]]] = attrs.field(factory=list)

    def add(self, other: Summary) -> None:
        """Count what another one has counted."""
        for field in attrs.fields(Summary):
            total = getattr(self, field.name)
            total += getattr(other, field.name)
            setattr(self, field.name, total)

    def count(self, seed: int, trace: Trace) -> None:
        """Count one world."""
        self.seeds += 1
        self.simulated_seconds += trace.seconds
        self.workers += len(trace.workers)
        self.jobs += len({p.job_id for p in trace.processes if p.job_id is not None})
        self.processes += len(trace.processes)
        self.sessions += len(trace.sessions)
        self.frames += sum(len(s.received) + len(s.sent) for s in trace.sessions)
        self.faults += trace.faults
        if trace.violations:
            self.broken.append((seed, trace.violations))

    def __str__(self) -> str:
        kinds = ", ".join(f"{kind} {count}" for kind, count in self.faults.most_common())
        return (
            f"{self.seeds} seeds: {self.simulated_seconds / 3600:.1f} simulated hours, "
            f"{self.workers} workers, {self.sessions} sessions, {self.frames} frames, "
            f"{self.jobs} jobs in {self.processes} processes\n"
            f"{self.faults.total()} faults: {kinds or 'none'}\n"
            f"{len(self.broken)} seeds broke a promise"
        )


def run_seed(seed: int) -> Trace:
    """One world; what it raises becomes a breach, so that a search goes on."""
    try:
        with _limited():
            return run_world(generate(seed))
    except Exception:
        trace = Trace()
        trace.violation(f"the world broke down:\n{traceback.format_exc()}")
        return trace


@contextmanager
def _limited() -> Iterator[None]:
    def give_up(*_: object) -> None:
        raise TimeoutError(f"this world takes more than {REAL_SECONDS} real seconds")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, REAL_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run_seeds(seeds: Iterable[int], mutation: str | None = None) -> Summary:
    """Many worlds in this process."""
    summary = Summary()
    gc.collect()
    gc.disable()  # a third of the time would go into it, for a world that is thrown away at once
    try:
        with mutated(mutation):
            for seed in seeds:
                summary.count(seed, run_seed(seed))
                if summary.seeds % CHUNK == 0:
                    gc.collect()
    finally:
        gc.enable()
    return summary


def search(seeds: range, *, processes: int = 1, mutation: str | None = None) -> Iterator[Summary]:
    """Yield a summary for every few worlds as they are done, in no particular order."""
    chunks = [seeds[start : start + CHUNK] for start in range(0, len(seeds), CHUNK)]
    work = partial(run_seeds, mutation=mutation)
    if processes == 1:
        yield from map(work, chunks)
        return
    # A Ctrl-C is the caller's business.
    deaf = (signal.SIGINT, signal.SIG_IGN)
    with multiprocessing.get_context("fork").Pool(processes, signal.signal, deaf) as pool:
        yield from pool.imap_unordered(work, chunks)


def first_breach(mutation: str, at_most: int, start: int = 0) -> tuple[int, list[str]] | None:
    """How many worlds it takes to find a mutation, and what it broke; None: more than `at_most`."""
    with mutated(mutation):
        for number in range(at_most):
            if violations := run_seed(start + number).violations:
                return number + 1, violations
    return None


def rate(summary: Summary, began: float) -> float:
    """Worlds per real second since `began`."""
    return summary.seeds / max(time.perf_counter() - began, 1e-9)
