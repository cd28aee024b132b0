"""How a job process is stopped: stop frame, EOF, SIGTERM, SIGKILL, each after a grace.

Knows the edge and the clock; not what a job is, nor what the stop frame looks like.
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
    """How far down the ladder a process had to be taken."""

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
    """Climb down until the process is gone. For `Spawner.run(deliver_cancel=)`.

    Runs shielded and is cancelled by the spawner when the process is gone. However it ends, by
    that, by an error of its own or at its end, the last thing it does is to SIGKILL the group.

    Arguments: `send_stop` sends the stop frame, and may block or raise trio's stream errors;
    `job_over`, set when the process has no job (any more): it has no callbacks to wait for, so
    the grace of the stop frame is then `termination_timeout`; `on_rung` is told each step when it
    is taken.
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
