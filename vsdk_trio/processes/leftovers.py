"""What a worker that died has left running: found by its cookies, waited for, killed.

Knows cookies only. The seam is `ProcessTable`, so that a simulated world can have one, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

import trio

from ..system.threads import run_in_thread
from ..telemetry.logs.loggers import get_logger
from .guardian_main import count_marked, kill_marked

_LOOK: Final = "look at the process table"
_LOOK_SECONDS: Final = 0.1
# What does not even die of SIGKILL in this time hangs in the kernel.
_KILL_SECONDS: Final = 5.0

logger = get_logger("vsdk_trio.leftovers")


class ProcessTable(Protocol):
    """All processes of the machine, as far as their cookies can be seen."""

    async def count(self, cookie_prefixes: Sequence[str]) -> int:
        """How many live that carry a cookie with one of these prefixes.

        Raises `OSError` where it cannot look, and so does `kill`.
        """
        ...

    async def kill(self, cookie_prefixes: Sequence[str]) -> int:
        """SIGKILL them, and what they start meanwhile; how many there were."""
        ...


class KernelProcessTable:
    """The real one; Linux only, elsewhere it is empty."""

    async def count(self, cookie_prefixes: Sequence[str]) -> int:
        """See `ProcessTable.count`."""
        return await run_in_thread(_LOOK, count_marked, _has_one_of(cookie_prefixes))

    async def kill(self, cookie_prefixes: Sequence[str]) -> int:
        """See `ProcessTable.kill`."""
        return await run_in_thread(_LOOK, kill_marked, _has_one_of(cookie_prefixes))


def _has_one_of(cookie_prefixes: Sequence[str]) -> Callable[[bytes], bool]:
    # With its dot, or the prefix of one run could be the beginning of another's.
    beginnings = tuple(f"{prefix}.".encode() for prefix in cookie_prefixes if prefix)
    return lambda cookie: cookie.startswith(beginnings)


async def see_off_leftovers(
    table: ProcessTable, cookie_prefixes: Sequence[str], *, grace_seconds: float
) -> bool:
    """Wait until none of these processes is left; True when that is so.

    They have seen the end of their worker and stop politely, callbacks included; after the grace
    they are killed. False for what even that does not end, and where nobody could look.
    """
    if await _wait_until_gone(table, cookie_prefixes, grace_seconds):
        return True
    try:
        killed = await table.kill(cookie_prefixes)
    except OSError as error:
        logger.error("cannot look for processes that a dead worker may have left: %s", error)
        return False
    logger.warning("killed processes that a dead worker had left", extra={"count": killed})
    if await _wait_until_gone(table, cookie_prefixes, _KILL_SECONDS):
        return True
    logger.error("processes that a dead worker had left cannot be killed")
    return False


async def _is_none_left(table: ProcessTable, cookie_prefixes: Sequence[str]) -> bool:
    try:
        return not await table.count(cookie_prefixes)
    except OSError:
        return False  # that nothing can be seen does not say that nothing is there


async def _wait_until_gone(
    table: ProcessTable, cookie_prefixes: Sequence[str], seconds: float
) -> bool:
    deadline = trio.current_time() + seconds
    while not await _is_none_left(table, cookie_prefixes):
        if trio.current_time() >= deadline:
            return False
        await trio.sleep(_LOOK_SECONDS)
    return True
