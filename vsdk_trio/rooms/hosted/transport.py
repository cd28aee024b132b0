"""Trio's side of a VideoSDK room: joins by the SDK in its thread, within a deadline, and leaves.

Knows the SDK only as a `Call` in another thread. Must not import it: that takes seconds.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from ..._exceptions import without_own_group
from ..._masking import hide_passing, mask
from ...asyncio_bridge.thread import AioThread, open_aio_thread
from ...asyncio_bridge.thread_channel import ThreadChannel
from ...errors import RoomError
from ...options.room import RoomOptions
from ...telemetry.logs.loggers import get_logger
from ..audio import AudioFormat, AudioFrame
from ..base import RoomRequest
from ..events import CONNECTION_LOST, MEETING_ENDED
from ..hub import RoomHub
from ..playback import PLAYBACK, Speech
from ..rest import post
from .recording import Recording, recording_of
from .sdk import Phase, SdkLog, cause_of, preload

if TYPE_CHECKING:
    from .call import Call

logger = get_logger(__name__)

_TIDY_SECONDS = 5.0
"""Of the time that `connect()` has, at most half: to tidy up, and say what it was spent on."""
_LEAVE_SECONDS = 2.0
_CANCEL_SECONDS = 1.0
_CLOSE_SECONDS = 1.0
_EVENTS = 1000
_FRAMES = 500
_DEFAULT_HOST = "api.videosdk.live"


def require_videosdk() -> None:
    """Raise `RoomError`, with what to install, where the SDK is not there; does not import it."""
    # `videosdk` alone may be the package of agents, which lives under the same name.
    if not all(importlib.util.find_spec(name) for name in ("videosdk", "vsaiortc")):
        # Only now: it reads what pip wrote down, by modules that no job needs.
        from ...options.extras import how_to_install

        raise RoomError(
            "transport_mode 'videosdk' needs the VideoSDK SDK: "
            f"{how_to_install('videosdk')}; or run offline with "
            "transport_mode='loopback' (or VSDK_TRIO_TRANSPORT=loopback in the environment)"
        )


@asynccontextmanager
async def open_videosdk(
    request: RoomRequest, hub: RoomHub
) -> AsyncGenerator[VideoSDKTransport, None]:
    """Join a room of the VideoSDK service, around the body.

    Raises `RoomError` with the cause where it cannot be joined, also five seconds before the
    `join_timeout_seconds` are over (but not before half of them), and out of the body where the
    connection is lost, which takes ten seconds at most to be noticed.
    """
    require_videosdk()
    host = _host_of(request)
    if not request.token:
        raise RoomError(
            "a VideoSDK room cannot be joined without a token: set RoomOptions(auth_token=...), "
            "Options(auth_token=...), or VIDEOSDK_AUTH_TOKEN"
        )
    hide_passing(request.token)
    began = trio.current_time()
    _say_what_is_missing(request.options)
    speech = Speech()
    events: ThreadChannel[Callable[[RoomHub], None]] = ThreadChannel(_EVENTS)
    frames: ThreadChannel[AudioFrame] = ThreadChannel(_FRAMES)
    with ExitStack() as filtered:  # to the end of the thread, which has last words, too
        async with open_aio_thread(
            name="videosdk", cancel_seconds=_CANCEL_SECONDS, close_seconds=_CLOSE_SECONDS
        ) as thread:
            make_call = await thread.run(_load)
            log = SdkLog(thread.ident)
            filtered.enter_context(log.attached())
            call = await thread.run(
                _make, make_call, request, host, log, speech, events.put, frames.put
            )
            try:
                await _join(thread, call, host, log, began)
                with without_own_group():
                    async with trio.open_nursery() as nursery, _recorded(request, host, call, hub):
                        nursery.start_soon(_tell, events, hub)
                        nursery.start_soon(_hear, frames, hub)
                        nursery.start_soon(_watch, thread, call, hub)
                        yield VideoSDKTransport(thread, call, speech)
                        nursery.cancel_scope.cancel()
            finally:
                log.phase = Phase.LEAVING
                if call.is_under_way:  # else the thread may be blocked, and nothing is open
                    with trio.move_on_after(_LEAVE_SECONDS, shield=True):
                        await thread.run(call.leave)


class VideoSDKTransport:
    """See `Transport`. `call` is the SDK's side; it belongs to `thread`."""

    def __init__(self, thread: AioThread, call: Call, speech: Speech) -> None:
        self.thread = thread
        self.call = call
        self._speech = speech

    @property
    def playback(self) -> AudioFormat:
        """See `Transport`."""
        return PLAYBACK

    async def send_audio(self, frame: AudioFrame) -> None:
        """See `Transport`."""
        await self._speech.put(frame.data)

    def interrupt(self) -> None:
        """See `Transport`."""
        self._speech.clear()

    async def send_message(self, text: str, topic: str) -> None:
        """See `Transport`."""
        await self.thread.run(self.call.publish, topic, text)

    async def subscribe(self, topic: str) -> None:
        """See `Transport`."""
        await self.thread.run(self.call.subscribe, topic)

    async def update_metadata(self, metadata: str) -> None:
        """See `Transport`; the SDK cannot."""
        await trio.lowlevel.checkpoint()
        raise RoomError("the VideoSDK SDK cannot change the metadata of a participant in a room")


def _host_of(request: RoomRequest) -> str:
    """The service's host, as the SDK wants it: without a scheme, which for it is always https."""
    base_url = request.options.signaling_base_url or _DEFAULT_HOST
    scheme, found, rest = base_url.rpartition("://")
    if found and scheme.lower() != "https":
        raise RoomError(
            f"signaling_base_url {base_url!r}: the VideoSDK SDK speaks https only; give the host "
            "of a room service (the local registry has one: vsdk-trio registry --rooms)"
        )
    return rest.rstrip("/")


async def _load() -> Callable[..., Any]:
    preload()
    from .call import Call

    return Call


async def _make(make_call: Callable[..., Call], *args: Any) -> Call:
    return make_call(*args)


async def _join(thread: AioThread, call: Call, host: str, log: SdkLog, began: float) -> None:
    """Join; raises `RoomError` with the cause where that fails or takes too long."""
    seconds = call.request.options.join_timeout_seconds
    deadline = math.inf
    if seconds is not None:
        deadline = began + max(seconds - _TIDY_SECONDS, seconds / 2)
    with trio.move_on_at(deadline) as patience, log.finding_causes():
        if await thread.run(call.join):
            return
    where = f"the room service at {host}"
    if patience.cancelled_caught:
        raise RoomError(
            f"the room could not be joined in time (join_timeout_seconds={seconds:g}): {where} "
            f"did not answer (while {call.stage})"
        )
    # The refusal says more than what the SDK stumbles over because of it.
    cause = log.refusal
    if not cause:
        cause = cause_of(log.error) if log.error is not None else log.last_error
    raise RoomError(f"the room could not be joined: {where}, while {call.stage}: {mask(cause)}")


@asynccontextmanager
async def _recorded(
    request: RoomRequest, host: str, call: Call, hub: RoomHub
) -> AsyncGenerator[None, None]:
    """Record around the body, where that is wanted; what was started is stopped at the end."""
    what = recording_of(request.options)
    if what is None:
        yield
        return
    recording = Recording(request, what, call.session_id, partial(post, request.token, host))
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(recording.run, hub)
            yield
            nursery.cancel_scope.cancel()
    finally:
        await recording.stop()


def _say_what_is_missing(options: RoomOptions) -> None:
    """Log options that have no effect in this version."""
    wishes = {
        "vision=True": options.vision
        and "the agent sees that cameras are on, but gets no pictures",
        "send_logs_to_dashboard=True": options.send_logs_to_dashboard and "nothing is sent there",
        "avatar": options.avatar is not None and "it does not come into the room",
    }
    for wish, instead in wishes.items():
        if instead:
            logger.warning("RoomOptions(%s) has no effect in this version: %s", wish, instead)


async def _tell(events: ThreadChannel[Callable[[RoomHub], None]], hub: RoomHub) -> None:
    async for tell in events.receive:
        tell(hub)
        hub.counts.events_dropped += events.take_dropped()


async def _hear(frames: ThreadChannel[AudioFrame], hub: RoomHub) -> None:
    async for frame in frames.receive:
        hub.audio(frame)
        hub.counts.frames_dropped += frames.take_dropped()


async def _watch(thread: AioThread, call: Call, hub: RoomHub) -> None:
    """Raise `RoomError` when the connection is lost; return when the session has ended."""
    failure = await thread.run(call.watch)
    if failure:
        hub.ended(CONNECTION_LOST)
        raise RoomError(f"the connection to the room was lost: {failure}")
    hub.ended(MEETING_ENDED)
