"""How long a session waits for people, in one place for all transports.

Knows the options about the end of a session. Must not know any transport.
"""

from __future__ import annotations

import math

import trio

from .events import ALL_LEFT, NOBODY_CAME
from .hub import RoomHub


async def end_when_empty(hub: RoomHub) -> None:
    """End the session where nobody comes, or everybody has left, for the options' time."""
    options = hub.request.options
    while hub.end_reason is None:
        if hub.participants:
            await hub.changed()
            continue
        patience, reason = options.no_participant_timeout_seconds, NOBODY_CAME
        if hub.has_had_participants:
            patience = options.session_timeout_seconds if options.auto_end_session else None
            reason = ALL_LEFT
        with trio.move_on_after(math.inf if patience is None else patience) as waiting:
            while not hub.participants and hub.end_reason is None:
                await hub.changed()
                if reason == NOBODY_CAME and hub.has_had_participants:
                    break  # came and left again at once
        if waiting.cancelled_caught:
            hub.ended(reason)
