"""Recording of who is in a hosted room, by the service's REST API.

The agent is recorded, and the first participant, or all of them; audio as a track, or all that
somebody sends as one. Knows the room's events. Must not know the SDK.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio

from ...errors import ApiError, RoomError
from ...options.room import RecordingOptions, RoomOptions
from ...telemetry.logs.loggers import get_logger
from ..base import RoomRequest
from ..events import ParticipantJoined, StreamKind, StreamStarted
from ..hub import RoomHub

logger = get_logger(__name__)

Post = Callable[[str, dict[str, Any]], Awaitable[object]]
"""Called with a path below the API's and a body; raises `ApiError`."""

_PATH = "/v2/recordings/participant"
_AUDIO = "audio"
_SCREEN = ("screen_audio", "screen_video")
_STOP_SECONDS = 1.5


def recording_of(options: RoomOptions) -> RecordingOptions | None:
    """The recording that the options ask for; None for no recording."""
    if options.observability is not None and options.observability.recording is not None:
        return options.observability.recording
    if options.recording:
        return options.recording_options or RecordingOptions()
    return None


class Recording:
    """The recordings of one room. `post` calls the API; `session_id` is the service's."""

    def __init__(
        self, request: RoomRequest, what: RecordingOptions, session_id: str, post: Post
    ) -> None:
        self._request = request
        self._what = what
        self._session_id = session_id
        self._post = post
        self._people: list[str] = []
        self._started: list[tuple[str, dict[str, Any]]] = []  # where to stop it, and how

    async def run(self, hub: RoomHub) -> None:
        """Start recordings as participants join; report one that fails as a room failure."""
        await self._record(self._request.participant_id, hub)
        async for event in hub.events():
            if isinstance(event, ParticipantJoined):
                participant_id = event.participant.participant_id
                if self._request.options.record_all_participants or not self._people:
                    self._people.append(participant_id)
                    await self._record(participant_id, hub)
            elif isinstance(event, StreamStarted) and self._is_wanted_screen(event):
                for kind in _SCREEN:
                    await self._start("/track", event.participant_id, hub, kind=kind)

    async def stop(self) -> None:
        """Stop all of it, and have it merged, within a deadline; what fails is logged."""
        if not (self._started and self._request.options.stop_recording_on_leave):
            return
        with trio.move_on_after(_STOP_SECONDS, shield=True) as scope:
            async with trio.open_nursery() as nursery:
                for path, body in self._started:
                    nursery.start_soon(self._try, f"{path}/stop", body)
            kind = {} if self._what.video else {"type": "track"}
            merged = {
                "roomId": self._request.room_id,
                "sessionId": self._session_id,
                "channel1": [{"participantId": self._request.participant_id, **kind}],
                "channel2": [{"participantId": one, **kind} for one in self._people],
            }
            await self._try(f"{_PATH}/merge", merged)
        if scope.cancelled_caught:
            logger.warning("recordings were not stopped within %g s", _STOP_SECONDS)

    def _is_wanted_screen(self, event: StreamStarted) -> bool:
        is_screen = event.kind is StreamKind.SHARE and self._what.screen_share
        return is_screen and event.participant_id in self._people

    async def _record(self, participant_id: str, hub: RoomHub) -> None:
        if self._what.video:
            await self._start("", participant_id, hub)
        else:
            await self._start("/track", participant_id, hub, kind=_AUDIO)

    async def _start(self, below: str, participant_id: str, hub: RoomHub, **kind: str) -> None:
        path = f"{_PATH}{below}"
        body = {"roomId": self._request.room_id, "participantId": participant_id, **kind}
        try:
            await self._post(f"{path}/start", body)
        except ApiError as error:
            hub.failed(RoomError(f"{participant_id!r} is not recorded: {error}"))
        else:
            self._started.append((path, body))

    async def _try(self, path: str, body: dict[str, Any]) -> None:
        try:
            await self._post(path, body)
        except ApiError as error:
            logger.warning("a recording could not be ended well: %s", error)
