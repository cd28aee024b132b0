"""One session after the other: the loop of a connection, and the I/O of each session.

The worker id, the epoch, the outbox and the retries outlive a session; they live in `SessionLoop`.
A `LiveSession` is the reader, the sender and the heartbeat on one link. It feeds the pure machines
and does what they say. `opening` makes an attempt; `retries` decides what follows a failed one.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import attrs
import trio

from .._exceptions import leaves
from ..errors import ConnectError, RegistrationRefusedError, TokenError
from ..protocol.codec import encode
from ..protocol.messages import JobAssignment, WireMessage, WorkerMessage, WorkerPong
from ..protocol.outbox import DeliveryTracker, Outbox
from ..protocol.session import (
    IgnoredFrame,
    Inbound,
    ProtocolSession,
    Registered,
    RegistrationRefusal,
)
from ..protocol.vocabulary import WorkerFact, vocabulary
from ..system.shortages import shortage_among
from ..telemetry import events as seen
from ..telemetry.logs.loggers import get_logger
from ..websocket.link import Link, LinkLost
from .events import Assignments, Inbox, SessionLost
from .opening import SessionOpener
from .retries import Retries
from .token import TokenProvider

SETTLE_SECONDS: Final = 1.0
"""While flushing, seconds that the link must live after a WebSocket pong to acknowledge what was
sent. A whole heartbeat would not fit into the time of a shutdown."""

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

    Once `flushing` is set, acknowledgements are asked for at once.
    """

    link: Link
    session: ProtocolSession
    outbox: Outbox
    deliveries: DeliveryTracker
    leaving: trio.Event
    flushing: trio.Event
    outgoing: Wakeup
    heartbeat_interval: float
    catch_up: Callable[[], Awaitable[None]]
    deliver: Callable[[Inbound], Awaitable[None]]
    ignore: Callable[[IgnoredFrame], None]
    observe: seen.Observe
    _sent: Wakeup = attrs.field(factory=Wakeup, init=False)

    async def run(self) -> LinkLost | None:
        """Run until the link is lost (returns why), or until asked to leave and settled (None)."""
        lost: list[LinkLost] = []
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read)
                nursery.start_soon(self._beat)
                await self._send_all()
                nursery.cancel_scope.cancel()
        except* LinkLost as group:
            lost.extend(leaves(group))
        return lost[0] if lost else None

    async def _read(self) -> None:
        await self.catch_up()
        while True:
            event = self.session.received(await self.link.receive())
            match event:
                case IgnoredFrame():
                    self.ignore(event)
                    continue
                case Registered() | RegistrationRefusal():
                    # A session answers its registration once; the machine ignores another.
                    raise AssertionError("a registered session was registered again")
                case WorkerPong():
                    self.deliveries.pong(event.timestamp)
                    self.outgoing.ring()
            await self.deliver(event)

    async def _send_all(self) -> None:
        """The one task that sends text frames. Nothing leaves the outbox before it was sent."""
        while True:
            if (item := self.outbox.next()) is not None:
                await self.link.send(item.frame)
                self.outbox.sent(item, trio.current_time())
                self._sent.ring()
            elif (ping := self.deliveries.ping_due(int(time.time() * 1000))) is not None:
                await self.link.send(encode(ping))
            elif self.leaving.is_set() and self.outbox.is_settled:
                return
            else:
                await self.outgoing.wait()

    async def _beat(self) -> None:
        """Find a dead peer; where JSON pings are not answered, acknowledge by WebSocket pings."""
        previous: float | None = None
        while not self.flushing.is_set():
            with trio.move_on_after(self.heartbeat_interval) as pause:
                await self.flushing.wait()
            if not pause.cancelled_caught:
                break
            pinged = await self._heartbeat()
            if previous is not None:
                self._survived(previous)
            previous = pinged
        while True:
            with trio.move_on_after(self.heartbeat_interval):
                while not self.outbox.awaits_acknowledgement:
                    await self._sent.wait()
            pinged = await (
                self._ping() if self.outbox.awaits_acknowledgement else self._heartbeat()
            )
            await trio.sleep(SETTLE_SECONDS)
            self._survived(pinged)

    async def _heartbeat(self) -> float:
        """Ask for both kinds of a sign of life; returns when the WebSocket's was asked for."""
        self.deliveries.heartbeat()
        self.outgoing.ring()
        return await self._ping()

    def _survived(self, pinged: float) -> None:
        self.deliveries.survived(pinged)
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


logger = get_logger("vsdk_trio.backend")

OFFLINE_SECONDS: Final = 1.0
_MAX_IGNORED_KINDS: Final = 100


@attrs.define(kw_only=True)
class SessionLoop:
    """Keeps a session with the registry open, until `leave` is called and all is delivered."""

    tokens: TokenProvider
    opener: SessionOpener
    retries: Retries
    announce: Callable[[], Sequence[WireMessage]]
    on_acknowledged: Callable[[WireMessage], None]
    observe: seen.Observe
    agent_id: str
    heartbeat_interval: float
    worker_id: str
    token: str = attrs.field(default="", repr=False)
    epoch: int = 0
    is_connected: bool = False
    ignored: Counter[str] = attrs.field(factory=Counter)
    outbox: Outbox = attrs.field(factory=Outbox)
    inbox: Inbox = attrs.field(factory=Inbox)
    assignments: Assignments = attrs.field(factory=Assignments)
    outgoing: Wakeup = attrs.field(factory=Wakeup)
    # Of sessions that began and ended, what the consumer had no room for yet. They do not wait for
    # it: outcomes are delivered all the same.
    _untold: deque[Registered | SessionLost] = attrs.field(factory=deque)
    _leaving: trio.Event = attrs.field(factory=trio.Event)
    _flushing: trio.Event = attrs.field(factory=trio.Event)
    _deliveries: DeliveryTracker = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._deliveries = DeliveryTracker(self.outbox, self._acknowledged)

    def queue(self, message: WireMessage, epoch: int | None) -> bool:
        """Put a message into the outbox; returns whether it will be sent."""
        is_queued = self.outbox.put(message, epoch=epoch)
        self.outgoing.ring()
        self.observe(seen.MessageQueued(kind=_kind_of(message), is_dropped=not is_queued))
        return is_queued

    def _acknowledged(self, message: WireMessage) -> None:
        self.observe(seen.MessageProven(kind=_kind_of(message)))
        self.on_acknowledged(message)

    def leave(self) -> None:
        """Let `keep` end once everything is delivered."""
        self._leaving.set()
        self._flushing.set()
        self.outgoing.ring()

    def flush_soon(self) -> None:
        """From now on, ask for acknowledgements at once."""
        self._flushing.set()

    async def keep(self, task_status: trio.TaskStatus[None]) -> None:
        """Open sessions, one after the other; `task_status.started()` with the first.

        Returns after `leave`, once all is delivered. It opens a new session then only for messages
        that are not acknowledged. Cancelling it says goodbye, too. Raises the error of `retries`
        when it is time to give up, and `TokenError` where the first attempt has no usable token.
        """
        while not (self._leaving.is_set() and not self.outbox.unacknowledged):
            before = self.epoch
            error = await self._attempt(task_status)
            if error is None:
                return
            delay = self.retries.delay_after(
                error,
                was_registered=self.epoch != before,
                now=trio.current_time(),
                is_leaving=self._leaving.is_set(),
            )
            logger.warning("no session with the registry (%s); next try in %.1f s", error, delay)
            cause = _cause_of(error, was_registered=self.epoch != before)
            self.observe(seen.AttemptFailed(cause=cause, error=str(error), delay=delay))
            await self._pause(delay)

    async def _attempt(self, task_status: trio.TaskStatus[None]) -> Exception | None:
        """Try once, and hold the session if it comes to one.

        Returns what went wrong, or None where a session ended in order. A refusal may be about a
        token that was good before: a fresh one, if it is another, is tried at once.
        """
        refusal: RegistrationRefusedError | None = None
        token = ""
        while True:
            try:
                refused, token = token, await self._get_token(fresh=refusal is not None)
                if refusal is not None and token == refused:
                    return refusal
                return await self._hold_session(token, task_status)
            except RegistrationRefusedError as error:
                if refusal is not None:
                    return error
                refusal = error
            except TokenError as error:
                if not self.epoch:
                    raise
                return error
            except ConnectError as error:
                return error
            except (OSError, ImportError, MemoryError) as error:
                if (short := shortage_among(error, "reach the registry")) is None:
                    raise
                return short

    async def _get_token(self, *, fresh: bool) -> str:
        # A provider is foreign code: it may take any time, or never return.
        limit = self.opener.connect_timeout
        with trio.move_on_after(limit):
            ahead = self.opener.clock.ahead_seconds
            return await self.tokens.get(fresh=fresh, ahead_seconds=ahead)
        raise ConnectError(f"the auth_token callable made no token within {limit:g} s")

    async def _pause(self, delay: float) -> None:
        """Wait before the next attempt. Being asked to leave cuts it short, once."""
        if self._leaving.is_set():
            await trio.sleep(delay)
            return
        with trio.move_on_after(delay):
            await self._leaving.wait()

    async def _hold_session(
        self, token: str, task_status: trio.TaskStatus[None]
    ) -> LinkLost | None:
        """Open a session and serve it; returns why it was lost, or None if it ended in order."""
        opening = self.opener.open_session(token, self.worker_id, self.ignore)
        async with opening as (link, session, registered):
            self.token = token
            self._opened(registered)
            opened_at = trio.current_time()
            lost: LinkLost | None = None
            try:
                if self.epoch == 1:
                    task_status.started()
                lost = await self._live(link, session).run()
            finally:
                self.is_connected = False
                session.closed()
                self.outbox.session_lost()
                self.observe(
                    seen.RegistrySessionEnded(
                        epoch=self.epoch,
                        seconds=trio.current_time() - opened_at,
                        lost_because=None if lost is None else lost.reason,
                    )
                )
                await self._say_offline(link)
        if lost is not None:
            self._tell(SessionLost(lost.reason))
        return lost

    def _opened(self, registered: Registered) -> None:
        now = trio.current_time()
        self.worker_id = registered.worker_id or self.worker_id
        self.epoch += 1
        self.retries.registered(now)
        self.outbox.session_opened(self.epoch, announce=self.announce())
        self._deliveries.session_opened()
        self.is_connected = True
        self.observe(seen.RegistrySessionOpened(epoch=self.epoch, worker_id=self.worker_id))
        self._tell(registered)
        logger.info("registered with the registry as %s", self.worker_id)

    def _live(self, link: Link, session: ProtocolSession) -> LiveSession:
        return LiveSession(
            link=link,
            session=session,
            outbox=self.outbox,
            deliveries=self._deliveries,
            leaving=self._leaving,
            flushing=self._flushing,
            outgoing=self.outgoing,
            heartbeat_interval=self.heartbeat_interval,
            catch_up=self._catch_up,
            deliver=self._deliver,
            ignore=self.ignore,
            observe=self.observe,
        )

    async def _say_offline(self, link: Link) -> None:
        """The last message of a session that ends by our own doing, cancelled or not."""
        if not link.is_usable:
            return
        offline = WorkerMessage(
            type="status_update",
            worker_id=self.worker_id,
            agent_name=self.agent_id,
            status=vocabulary("deployed").worker_word(WorkerFact.OFFLINE),
            load=0.0,
            job_count=0,
        )
        with trio.move_on_after(OFFLINE_SECONDS, shield=True):
            try:
                await link.send(encode(offline))
            except LinkLost as error:
                logger.info("the link was lost before the goodbye: %s", error)

    def _tell(self, event: Registered | SessionLost) -> None:
        """Queue what became of a session, or keep it until there is room."""
        self._untold.append(event)
        while self._untold and self.inbox.offer(self._untold[0]):
            self._untold.popleft()

    async def _catch_up(self) -> None:
        while self._untold:
            await self._deliver(self._untold[0])
            self._untold.popleft()

    async def _deliver(self, event: Inbound | Registered | SessionLost) -> None:
        if not isinstance(event, Registered | SessionLost):
            self.observe(seen.FrameReceived(kind=event.type))
        if isinstance(event, JobAssignment):
            self.assignments.arrived(event)
        if not await self.inbox.deliver(event, may_drop=self._leaving.is_set()):
            self._count("unread")

    def ignore(self, ignored: IgnoredFrame) -> None:
        """Count a frame that means nothing; log the first of its kind."""
        if self._count(ignored.kind):
            logger.warning("ignored a frame (%s): %s", ignored.kind, ignored.detail)

    def _count(self, kind: str) -> bool:
        """Count; returns whether it is the first. Kinds come from outside, so they are bounded."""
        if kind not in self.ignored and len(self.ignored) >= _MAX_IGNORED_KINDS:
            kind = "other"
        self.ignored[kind] += 1
        # Without the name that the registry has chosen.
        self.observe(seen.FrameIgnored(kind=kind.partition(":")[0]))
        return self.ignored[kind] == 1


def _kind_of(message: WireMessage) -> str:
    return getattr(message, "type", "")


def _cause_of(error: Exception, *, was_registered: bool) -> str:
    """The class of what went wrong, for counters."""
    match error:
        case RegistrationRefusedError():
            return "refused"
        case TokenError():
            return "token"
        case _:
            return "lost" if was_registered else "unreachable"
