"""The seam between a room and what carries it: what a transport does, and what it may tell.

A transport joins, carries sound and messages, and says what it sees to a `RoomHub`. Everything
that is the same everywhere (permissions, pacing, timeouts, events, bounds) is above it, and is
not its business. Must not know any one transport.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeAlias, TypeVar

from .audio import AudioFormat, AudioFrame
from .base import RoomRequest
from .hub import RoomHub


class Transport(Protocol):
    """A joined room's carrier. Each method belongs to the tasks of one Trio run.

    Errors that the session survives go to `hub.failed`; one that it does not survive is raised, as
    a `RoomError`, out of the context manager that opened the transport, and fails the job.
    """

    @property
    def playback(self) -> AudioFormat:
        """The format `send_audio` is given; everything else is converted before."""
        ...

    async def send_audio(self, frame: AudioFrame) -> None:
        """Send at most 20 ms of sound, in `playback` format; may wait, and may be cancelled.

        It is called at the speed of speech, at most 0.2 s ahead of what is heard. Where nobody is
        there to hear it, it returns.
        """
        ...

    def interrupt(self) -> None:
        """Drop what was sent and is not yet heard; never waits."""
        ...

    async def send_message(self, text: str, topic: str) -> None:
        """Publish a message. Raises `RoomError` for one that cannot be sent."""
        ...

    async def subscribe(self, topic: str) -> None:
        """Have messages on `topic` come to the hub from now on; called once for each topic."""
        ...

    async def update_metadata(self, metadata: str) -> None:
        """Set the metadata of the agent's participant; `RoomError` where that is not possible."""
        ...


TransportT_co = TypeVar("TransportT_co", bound=Transport, covariant=True)

TransportOpener: TypeAlias = Callable[
    [RoomRequest, RoomHub], AbstractAsyncContextManager[TransportT_co]
]
"""Joins on entry and leaves on exit. Cancelled while it joins, it leaves nothing behind. Raises
`RoomError` (or an `OptionsError`) where it cannot join, with the cause and what to do. What it
starts runs in its own nursery; its exit has 5 s to say goodbye, and is cancelled then."""
