"""What a registry and a worker say to each other, in the words of either protocol.

Nothing about time or connections: `registry.py` has those. The protocol of the other peer is in
`livekit_dialect.py`, which needs a package that only a comparison needs.
"""

from __future__ import annotations

import json
from typing import Any, Protocol, TypeAlias

import attrs

TOKEN = "a-token-of-the-length-that-tokens-have." * 5
URL = "wss://rooms.example/measured"
END_WORDS = ("completed", "failed", "cancelled")


@attrs.frozen
class Answer:
    """What a worker says to an offer."""

    job_id: str
    taken: bool


@attrs.frozen
class Update:
    """What a worker says of a job: `running`, or one of the `END_WORDS`."""

    job_id: str
    status: str


@attrs.frozen
class Query:
    """A frame that has its answer beside it."""

    answer: str | bytes


Told: TypeAlias = Answer | Update | Query | None
"""None is what a benchmark does not want to know."""


class Dialect(Protocol):
    """Makes frames for a worker, and reads its."""

    def welcome(self) -> str | bytes:
        """Answers the worker's first frame."""

    def offer(self, job_id: str, *, stay: bool) -> str | bytes:
        """Asks for a slot. With `stay`, the job is one that does not end."""

    def assignment(self, job_id: str, *, stay: bool) -> str | bytes:
        """Gives a job that was offered with the same `stay`."""

    def read(self, message: str | bytes) -> Told:
        """What the worker says."""


class JsonDialect:
    """Ours, and the published client's."""

    def welcome(self) -> str:
        return json.dumps({"type": "register", "success": True, "worker_id": "measured"})

    def offer(self, job_id: str, *, stay: bool) -> str:
        # No more fields than these: the published client takes any other one for a reason to
        # drop its connection.
        names = {"job_id": job_id, "room_id": room_of(job_id), "agent_name": "benchmark"}
        return json.dumps({"type": "availability_request", **names})

    def assignment(self, job_id: str, *, stay: bool) -> str:
        return json.dumps(assignment(job_id, stay=stay))

    def read(self, message: str | bytes) -> Told:
        match json.loads(message):
            case {"type": "availability_response", "job_id": job_id, "available": taken}:
                return Answer(job_id, taken)
            case {"type": "job_update", "job_id": job_id, "status": status}:
                return Update(job_id, status)
            case {"type": "ping", "timestamp": timestamp}:
                return Query(json.dumps({"type": "pong", "timestamp": timestamp}))
        return None


def assignment(job_id: str, *, stay: bool = False) -> dict[str, Any]:
    """The frame that gives a job to a worker."""
    return {
        "type": "job_assignment",
        "job_id": job_id,
        "job_type": "room",
        "room_id": room_of(job_id),
        "room_name": "measured",
        "agent_name": "benchmark",
        "namespace": "default",
        "token": TOKEN,
        "url": URL,
        "room_options": {"recording": False, "auto_end_session": True},
        "metadata": {"job_id": job_id, "stay": stay},
    }


def room_of(job_id: str) -> str:
    """A name as long as they are."""
    return "room-of-" + job_id
