"""What happened in one world: the timeline for people, and the records that promises are held to.

Knows no rules; `promises` does.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import attrs
import trio

from vsdk_trio.control.frames import Finished
from vsdk_trio.testing.network import Connection
from vsdk_trio.testing.processes import MemoryProcess

from .schedule import JobPlan

JsonObject = dict[str, Any]


@attrs.define(eq=False)
class SessionRecord:
    """One accepted WebSocket, seen from the registry: every frame with its time."""

    number: int
    worker: int
    connection: Connection
    registry: int
    opened_at: float
    received: list[tuple[float, JsonObject]] = attrs.field(factory=list)
    sent: list[tuple[float, JsonObject]] = attrs.field(factory=list)
    registered_at: float | None = None
    ended_at: float | None = None
    end_code: int | None = None
    ended_by_registry: bool = False

    @property
    def faultless_until(self) -> float:
        """Until when the link did what it should, and both sides were there."""
        ends = (self.connection.faulty_since, self.ended_at)
        return min((end for end in ends if end is not None), default=float("inf"))

    def received_of(self, type_: str) -> list[tuple[float, JsonObject]]:
        return [(time, frame) for time, frame in self.received if frame.get("type") == type_]


@attrs.define(eq=False)
class ProcessRecord:
    """One job process: what it was given, what its program did, how it went."""

    worker: int
    process: MemoryProcess
    started_at: float
    job_id: str | None = None
    plan: JobPlan | None = None
    given_at: float | None = None
    entered: int = 0
    outcome: str | None = None  # what the entrypoint did: completed, failed; None: neither
    callbacks: Counter[int] = attrs.field(factory=Counter)
    callbacks_added: int = 0
    finished: Finished | None = None
    crashed: bool = False
    orphaned: bool = False
    ended_at: float | None = None

    @property
    def pid(self) -> int:
        return self.process.pid


@attrs.define(eq=False)
class WorkerRecord:
    """One worker, in all its lives."""

    number: int
    options: dict[str, Any]
    started_at: float | None = None
    asked_to_end: list[tuple[float, str]] = attrs.field(factory=list)
    killed_at: list[float] = attrs.field(factory=list)
    owed_by_journal: set[str] = attrs.field(factory=set)
    has_lost_journal: bool = False
    gave_up_at: float | None = None
    ended_at: float | None = None
    error: BaseException | None = None
    accepted: list[str] = attrs.field(factory=list)
    alive_at_end: int = 0


@attrs.define(eq=False)
class Trace:
    """Everything that is known of a run."""

    timeline: list[tuple[float, str, str]] = attrs.field(factory=list)
    sessions: list[SessionRecord] = attrs.field(factory=list)
    processes: list[ProcessRecord] = attrs.field(factory=list)
    workers: list[WorkerRecord] = attrs.field(factory=list)
    violations: list[str] = attrs.field(factory=list)
    faults: Counter[str] = attrs.field(factory=Counter)
    jobs_dispatched: int = 0
    seconds: float = 0.0

    def note(self, who: str, what: str) -> None:
        """One line of the timeline."""
        self.timeline.append((trio.current_time(), who, what))

    def fault(self, kind: str, what: str = "") -> None:
        """Something was made to go wrong."""
        self.faults[kind] += 1
        self.note("fault", f"{kind} {what}".rstrip())

    def violation(self, text: str) -> None:
        """A promise was broken; noticed at once, or when all is over."""
        self.violations.append(text)
        time = trio.current_time() if trio.lowlevel.in_trio_run() else self.seconds
        self.timeline.append((time, "BROKEN", text))

    def readable(self) -> str:
        """The timeline as text."""
        return "\n".join(f"{time:10.3f}  {who:<10} {what}" for time, who, what in self.timeline)


def frame_text(frame: JsonObject) -> str:
    """A frame in a few words; never a token."""
    words = [str(frame.get("type"))]
    for key in ("job_id", "status", "available", "error", "reason", "success", "timestamp"):
        if (value := frame.get(key)) not in (None, ""):
            text = str(value)
            words.append(text[:8] if key == "job_id" else f"{key}={text[:90]}")
    return " ".join(words)
