"""The log of a simulated world: part of its timeline, and searched for tokens."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

import trio

from .trace import Trace, WorkerRecord


class Speaker(Protocol):
    """A worker or a job process, as far as its log is concerned."""

    @property
    def number(self) -> int:
        """The worker's."""
        ...

    @property
    def is_dead(self) -> bool:
        """Whether it only unwinds, and says nothing any more."""
        ...


# Whose task it is that logs something.
speaker: ContextVar[Speaker | None] = ContextVar("speaker", default=None)

TOKEN = "eyJ-the-secret-of-the-simulation"


class _Watch(logging.Handler):
    def __init__(self, trace: Trace) -> None:
        super().__init__()
        self._trace = trace

    def emit(self, record: logging.LogRecord) -> None:
        """Note a record; a token in it breaks a promise."""
        who = speaker.get()
        if who is not None and who.is_dead:
            return
        text = record.getMessage()
        error = record.exc_info[1] if record.exc_info else None
        if TOKEN in text or TOKEN in f"{_texts(error)} {record.__dict__}":
            self._trace.violation(f"a token is in the log: {text}")
        job_id = str(getattr(record, "job_id", ""))
        if record.name != "vsdk_trio.job":
            name = "registry" if who is None else f"log of {who.number}"
            self._trace.note(name, f"{text[:160]} {job_id[:8]}".rstrip())
        if who is not None:
            self._look_at(text, job_id, self._trace.workers[who.number])

    def _look_at(self, text: str, job_id: str, worker: WorkerRecord) -> None:
        if text == "job accepted":
            worker.accepted.append(job_id)
        elif "; draining: " in text:
            worker.gave_up_at = trio.current_time()
        elif text.startswith("going on without a journal"):
            worker.has_lost_journal = True


def _texts(error: BaseException | None) -> str:
    """All that a traceback would print of an error, but for the lines of code."""
    if error is None:
        return ""
    inner = [error.__cause__, error.__context__, *getattr(error, "exceptions", ())]
    return f"{error!r} {error} {' '.join(map(_texts, inner))}"


@contextmanager
def watched_logs(trace: Trace) -> Iterator[None]:
    """During the body, all that the project logs goes into the trace and nowhere else."""
    logger = logging.getLogger("vsdk_trio")
    before = logger.handlers[:], logger.level, logger.propagate
    logger.handlers[:], logger.propagate = [_Watch(trace)], False
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.handlers[:], logger.propagate = before[0], before[2]
        logger.setLevel(before[1])
