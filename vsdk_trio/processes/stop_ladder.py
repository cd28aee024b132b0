"""How a job process is stopped: stop frame, EOF, SIGTERM, SIGKILL, each after a grace.

Knows process handles and the clock; knows neither jobs nor frames.
"""

from __future__ import annotations

import enum
import signal
from collections.abc import Awaitable, Callable

import attrs
import trio

from .edge import ProcessHandle

DRAIN_SECONDS = 1.0


class Rung(enum.IntEnum):
    """The steps of the ladder, from polite to hard."""

    STOP_FRAME = 1
    EOF = 2
    SIGTERM = 3
    SIGKILL = 4


@attrs.frozen(kw_only=True)
class Graces:
    """The waits of the ladder, in seconds.

    `hurry`: set by a second SIGINT; cuts what remains of every wait to `termination_timeout`.
    """

    close_timeout: float
    termination_timeout: float
    hurry: trio.Event = attrs.field(factory=trio.Event, repr=False)

    @property
    def total_seconds(self) -> float:
        """No ladder takes longer, its process's last output included."""
        return self.close_timeout + 3 * self.termination_timeout + 2 * DRAIN_SECONDS


async def stop_ladder(
    handle: ProcessHandle,
    send_stop: Callable[[], Awaitable[None]],
    graces: Graces,
    *,
    job_over: trio.Event,
    on_rung: Callable[[Rung], None],
) -> None:
    """Go down the ladder until the process is gone. For `Spawner.run(deliver_cancel=)`.

    It runs shielded, and the spawner cancels it when the process is gone. However it ends, its last
    step is to SIGKILL the group.

    Args:
        handle: The process.
        send_stop: Sends the stop frame. It may block or raise trio's stream errors.
        graces: The waits.
        job_over: Set when the process has no job, or no job any more. It then has no callbacks to
            wait for, and the grace of the stop frame is `termination_timeout`.
        on_rung: Called with each step when it is taken.
    """
    try:
        on_rung(Rung.STOP_FRAME)
        if await _could_send(send_stop, graces):
            await _wait(graces.close_timeout, graces, graces.hurry, job_over)
        on_rung(Rung.EOF)
        await trio.aclose_forcefully(handle.stdin)
        await _wait(graces.termination_timeout, graces)
        on_rung(Rung.SIGTERM)
        handle.signal_group(signal.SIGTERM)
        await _wait(graces.termination_timeout, graces)
        on_rung(Rung.SIGKILL)
    finally:
        handle.signal_group(signal.SIGKILL)


async def _could_send(send_stop: Callable[[], Awaitable[None]], graces: Graces) -> bool:
    # A process that has stopped reading, so that its pipe is full, will not read a stop frame.
    with trio.move_on_after(min(graces.close_timeout, graces.termination_timeout)):
        try:
            await send_stop()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return False
        return True
    return False


async def _wait(seconds: float, graces: Graces, *cuts: trio.Event) -> None:
    """Wait `seconds`, or `termination_timeout` from when one of `cuts` is set, if that is less."""
    with trio.move_on_after(seconds) as scope:

        async def cut(event: trio.Event) -> None:
            await event.wait()
            scope.deadline = min(scope.deadline, trio.current_time() + graces.termination_timeout)

        async with trio.open_nursery() as nursery:
            for event in cuts:
                nursery.start_soon(cut, event)
            await trio.sleep_forever()
