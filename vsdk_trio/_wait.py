"""Waiting for the first of several things. A leaf: knows trio and nothing of the project."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio


async def first_of(*waits: Callable[[], Awaitable[object]]) -> None:
    """Wait until one of them returns; the others are cancelled."""
    async with trio.open_nursery() as nursery:

        async def wait_and_end(wait: Callable[[], Awaitable[object]]) -> None:
            await wait()
            nursery.cancel_scope.cancel()

        for wait in waits:
            nursery.start_soon(wait_and_end, wait)
