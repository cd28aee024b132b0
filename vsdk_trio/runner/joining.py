"""How a job joins its room: checked before, within a time limit, and held beyond the entrypoint.

Knows options, rooms and runs. Must not know what a context offers.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

import trio

from ..errors import RoomError
from ..options.room import RoomOptions, TransportMode
from ..rooms import Room, RoomFactory, RoomRequest, open_room, require_transport
from ..rooms.limits import check_transport
from ..telemetry.logs.loggers import get_logger
from .job_run import JobRun
from .outcome import leaves

logger = get_logger(__name__)


async def join_room(
    run: JobRun,
    options: RoomOptions,
    mode: TransportMode,
    *,
    factory: RoomFactory,
    choose_room: Callable[[TransportMode], Awaitable[str]],
    request: Callable[[], RoomRequest],
) -> Room:
    """Join the room that `options` describe, by `factory`; `run` leaves it at the job's end.

    `choose_room` finds an id where the options have none, and may create a room; `request` is
    asked afterwards. Raises `OptionsError` for what cannot be done, `RoomError` where the room
    cannot be joined, or not in time. Cancelled, it leaves nothing behind, and raises
    nothing else, whatever the transport makes of that.
    """
    options.check()
    for text in check_transport(options, mode):
        logger.warning("%s", text)
    if factory is open_room:
        require_transport(mode)  # before a room is created that could not be joined
    seconds = options.join_timeout_seconds
    with trio.move_on_after(math.inf if seconds is None else seconds):
        if not options.room_id:
            options.room_id = await choose_room(mode)
        try:
            return await run.hold(factory(mode, request()))
        except (Exception, BaseExceptionGroup) as error:
            # What a library stumbles over because it is called off is no failure of the job.
            if all(isinstance(leaf, (Exception, trio.Cancelled)) for leaf in leaves(error)):
                await trio.lowlevel.checkpoint_if_cancelled()
            raise
    raise RoomError(not_in_time(options.room_id, seconds))


def not_in_time(room_id: str | None, seconds: float | None) -> str:
    """What is said of a room that was not joined within `join_timeout_seconds`."""
    return (
        f"the room {room_id or '(a new one)'} was not joined within {seconds:g} s "
        "(RoomOptions.join_timeout_seconds)"
    )
