"""Keeps the registry's picture of the worker fresh: on every change, and every `ping_interval`."""

from __future__ import annotations

from collections.abc import Callable

from .._service import Notifier

# Changes come in bursts (an offer, its assignment, its start); one message tells of them all.
SETTLE_SECONDS = 0.05


async def report_status(
    post: Callable[[], object], *, change: Notifier, ping_interval: float
) -> None:
    """Call `post` after every change and at least every `ping_interval` seconds, until cancelled.

    The status that a new session starts with is the connection's announcement, not this loop's.
    """
    while True:
        await change.settle(SETTLE_SECONDS, at_most=ping_interval)
        post()
