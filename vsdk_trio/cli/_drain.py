"""Draining a worker over its HTTP, and waiting until it has ended.

Knows what `/drain` and `/readyz` say; not how a worker drains.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final

import trio

from ._client import AwayError, CallError, Peer
from ._output import Progress, harmless, print_json

_POLL_SECONDS: Final = 0.5


async def drain_worker(worker: Peer, wait: bool, timeout: float | None, as_json: bool) -> None:
    """Ask the worker to drain; with `wait`, return once it has gone.

    Raises `CallError` where it refuses, or has not gone within `timeout` seconds.
    """
    answer = await worker.ask("POST", "/drain")
    if wait:
        with trio.move_on_after(math.inf if timeout is None else timeout) as limit:
            await _wait_until_gone(worker)
        if limit.cancelled_caught:
            raise CallError(f"{worker.url} is still draining after {timeout:g} s")
    if as_json:
        print_json({**answer, "ended": wait})
    elif wait:
        print(harmless(f"{worker.url} has ended"))
    else:
        waiting = _listed(answer.get("waiting_for"))
        print(harmless(f"{answer.get('stage')}; {waiting or 'nothing to wait for'}"))


async def _wait_until_gone(worker: Peer) -> None:
    with Progress() as progress:
        while True:
            try:
                _, raw = await worker.exchange("GET", "/readyz")
            except AwayError:
                return
            progress.say(_told(raw))
            await trio.sleep(_POLL_SECONDS)


def _told(raw: bytes) -> str:
    try:
        leaving: Any = json.loads(raw).get("draining") or {}
    except (ValueError, AttributeError):
        return "draining"
    waiting = _listed(leaving.get("waiting_for"))
    return f"{leaving.get('stage') or 'draining'}{f'; {waiting}' if waiting else ''}"


def _listed(waiting: object) -> str:
    found = ", ".join(map(str, waiting)) if isinstance(waiting, list) else ""
    return f"waiting for {found}" if found else ""
