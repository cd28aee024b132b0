"""Finds out who has a port that a worker wanted: another worker says so itself."""

from __future__ import annotations

import json
from typing import Any, Final

import trio

from .._masking import cut
from ..http_server.server import url_from_here
from ..system.threads import starting_threads

_SECONDS: Final = 1.0
_MAX_ANSWER_BYTES: Final = 1 << 16
_SHOWN: Final = 60


async def describe_occupant(host: str, port: int) -> str:
    """The worker that answers there, for an error's text; empty where there is none.

    It is asked for its `/worker`, which is open to everybody, and has a second to answer.
    """
    with trio.move_on_after(_SECONDS):
        try:
            answer = await _ask(host.strip("[]"), port)
        except (OSError, ValueError, trio.BrokenResourceError):
            return ""
        agent, worker = answer.get("agent_id"), answer.get("worker_id")
        if isinstance(agent, str) and isinstance(worker, str):
            which = f" ({cut(worker, _SHOWN)})" if worker else ""
            pid = f", pid {answer['pid']}" if isinstance(answer.get("pid"), int) else ""
            url = url_from_here(host, port)
            return f"a worker of agent {cut(agent, _SHOWN)!r}{which}{pid} is at {url}; "
    return ""


async def _ask(host: str, port: int) -> dict[str, Any]:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    received = bytearray()
    with starting_threads(f"look up {host}"):
        stream = await trio.open_tcp_stream(host, port)
    async with stream:
        await stream.send_all(b"GET /worker HTTP/1.0\r\nHost: localhost\r\n\r\n")
        async for chunk in stream:
            received += chunk
            if len(received) > _MAX_ANSWER_BYTES:
                break
    answer = json.loads(received.partition(b"\r\n\r\n")[2])
    return answer if isinstance(answer, dict) else {}
