"""The I/O of one registered session: a reader, a sender and a heartbeat on one link.

Feeds the pure machines (session, outbox, prover) and does what they say. Must not know how the
link was made, or what happens after it.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Final

import attrs
import trio

from ..protocol.codec import encode
from ..protocol.messages import WorkerPong
from ..protocol.outbox import Outbox
from ..protocol.session import Ignored, Inbound, Refused, Registered, Session
from ..telemetry import events as seen
from ..websocket.link import Link, LinkLost
from .proof import Prover

SETTLE_SECONDS: Final = 1.0
"""In haste, the life of the link after a WebSocket pong that has to do for a proof: a whole
heartbeat would not fit into any patience for a shutdown."""

_LEAST_PONG_SECONDS: Final = 1.0


class Wakeup:
    """A bell that stays rung until its one waiter has heard it."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def ring(self) -> None:
        """Wake the waiter, or let its next wait return at once."""
        self._event.set()

    async def wait(self) -> None:
        """Wait for the next ring."""
        await self._event.wait()
        self._event = trio.Event()


@attrs.define(kw_only=True)
class LiveSession:
    """A registered session. `run` ends when `leaving` is set and everything is delivered.

    From when `hastening` is set, what was sent is proven as soon as it can be.
    """

    link: Link
    session: Session
    outbox: Outbox
    prover: Prover
    leaving: trio.Event
    hastening: trio.Event
    outgoing: Wakeup
    heartbeat_interval: float
    catch_up: Callable[[], Awaitable[None]]
    deliver: Callable[[Inbound], Awaitable[None]]
    ignore: Callable[[Ignored], None]
    observe: seen.Observe
    _sent: Wakeup = attrs.field(factory=Wakeup, init=False)

    async def run(self) -> LinkLost | None:
        """Run until the link is lost (returns why), or until told to leave and settled (None)."""
        lost: list[LinkLost] = []
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read)
                nursery.start_soon(self._beat)
                await self._send_all()
                nursery.cancel_scope.cancel()
        except* LinkLost as group:
            lost.extend(_leaves(group))
        return lost[0] if lost else None

    async def _read(self) -> None:
        await self.catch_up()
        while True:
            event = self.session.received(await self.link.receive())
            match event:
                case Ignored():
                    self.ignore(event)
                    continue
                case Registered() | Refused():
                    # A session answers its registration once; the machine ignores another.
                    raise AssertionError("a registered session was registered again")
                case WorkerPong():
                    self.prover.pong(event.timestamp)
                    self.outgoing.ring()
            await self.deliver(event)

    async def _send_all(self) -> None:
        """The one task that sends text frames. Nothing leaves the outbox before it was sent."""
        while True:
            if (item := self.outbox.next()) is not None:
                await self.link.send(item.frame)
                self.outbox.sent(item, trio.current_time())
                self._sent.ring()
            elif (ping := self.prover.ping_due(int(time.time() * 1000))) is not None:
                await self.link.send(encode(ping))
            elif self.leaving.is_set() and self.outbox.is_settled:
                return
            else:
                await self.outgoing.wait()

    async def _beat(self) -> None:
        """Find a dead peer; prove by WebSocket pings what JSON pings do not."""
        previous: float | None = None
        while not self.hastening.is_set():
            with trio.move_on_after(self.heartbeat_interval) as pause:
                await self.hastening.wait()
            if not pause.cancelled_caught:
                break
            pinged = await self._heartbeat()
            if previous is not None:
                self._lived_on(previous)
            previous = pinged
        while True:
            with trio.move_on_after(self.heartbeat_interval):
                while not self.outbox.needs_proof:
                    await self._sent.wait()
            pinged = await (self._ping() if self.outbox.needs_proof else self._heartbeat())
            await trio.sleep(SETTLE_SECONDS)
            self._lived_on(pinged)

    async def _heartbeat(self) -> float:
        """Ask for both kinds of a sign of life; returns when the WebSocket's was asked for."""
        self.prover.heartbeat()
        self.outgoing.ring()
        return await self._ping()

    def _lived_on(self, pinged: float) -> None:
        self.prover.lived_on(pinged)
        self.outgoing.ring()

    async def _ping(self) -> float:
        """Exchange a WebSocket ping and pong; returns when the ping was sent."""
        limit = max(self.heartbeat_interval, _LEAST_PONG_SECONDS)
        pinged = trio.current_time()
        with trio.move_on_after(limit) as scope:
            await self.link.ping()
        if scope.cancelled_caught:
            raise self.link.condemn(f"no pong within {limit:g} s")
        self.observe(seen.LinkAnswered(seconds=trio.current_time() - pinged))
        return pinged


def _leaves(group: BaseExceptionGroup[LinkLost]) -> list[LinkLost]:
    found: list[LinkLost] = []
    for error in group.exceptions:
        found.extend(_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    return found
