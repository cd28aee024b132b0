"""What a worker says to a job process, and the way to answer.

Knows frames and the channel. Must not know what becomes of a job, or of a request to stop.
"""

from __future__ import annotations

from typing import Any

import attrs
import trio

from ..control.channel import ControlChannel
from ..control.frames import Frame, Ping, Pong, SendableFrame, Start, Stop
from ..telemetry.logs.loggers import get_logger
from .stop import StopRequest
from .vitals import LongestStep, memory_mb

logger = get_logger(__name__)


@attrs.define(kw_only=True)
class Desk:
    """What the worker has said so far, and the way to answer."""

    channel: ControlChannel
    steps: LongestStep
    stop: StopRequest = attrs.field(factory=StopRequest)
    job: dict[str, Any] | None = attrs.field(default=None, repr=False)  # holds a token
    trace: dict[str, Any] = attrs.field(factory=dict)
    not_understood: str | None = None
    """What is wrong with the job."""
    busy: trio.Event = attrs.field(factory=trio.Event)
    """The task that runs the job reads no more frames: somebody else has to."""
    joining_told: trio.Event = attrs.field(factory=trio.Event)
    """The worker was told that the room is joined."""

    async def tell(self, frame: SendableFrame) -> None:
        """Send a frame; to nobody if the worker is gone, which the reader finds out as well."""
        try:
            await self.channel.send(frame)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.stop.request("the worker is gone")

    async def read(self) -> None:
        """Take frames until the worker is gone."""
        async for frame in self.channel:
            await self._take(frame)
        self.stop.request("the worker is gone")

    async def read_until_job(self) -> None:
        """Take frames until there is a job, or the worker is gone; and what came together with it.

        That may be a request to stop.
        """
        if self._may_begin():
            return
        async for frame in self.channel:
            await self._take(frame)
            if self._may_begin():
                return
        self.stop.request("the worker is gone")

    def _may_begin(self) -> bool:
        return self.job is not None and not self.channel.has_more

    async def _take(self, frame: Frame) -> None:
        match frame:
            case Start() if self.job is None:
                self.steps.take_ms()  # what came before is none of the job's doing
                self.job, self.trace = frame.job, frame.trace
            case Stop():
                self.stop.request(frame.reason or "stopped")
            case Ping():
                lag_ms = self.steps.take_ms()
                await self.tell(Pong(seq=frame.seq, memory_mb=memory_mb(), lag_ms=lag_ms))
            case _:
                logger.warning("ignored an unexpected frame: %s", type(frame).__name__)
