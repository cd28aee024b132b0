"""Messages on their way to the registry, kept until acknowledged: the heart of "no job lost".

The protocol has no acknowledgements, so a message that was written may be lost with its socket. A
`pong` acknowledges it: the registry answers the protocol's own `ping` from its message loop, in
order. A registry that answers has taken every frame sent before the ping.

Knows neither sockets nor a clock nor the state of any job. Its owner sends what `next` returns,
one at a time, and says so with `sent`. A message stays queued until then, and is kept
until it is acknowledged, so that a session may break at any point in between.

What enters here must be able to leave: a message is encoded once, as it is put, because one that
cannot be would break every session it is tried on.
"""

from __future__ import annotations

import enum
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias, assert_never

import attrs

from ..errors import IllegalTransitionError
from .codec import encode
from .messages import WireMessage, WorkerPing

# A registry that answers no ping must not cost memory for as long as its session lasts. The
# oldest go first, since a later ping acknowledges at least as much.
_MAX_PINGS: Final = 256


class Delivery(enum.Enum):
    """How hard to try."""

    DURABLE = enum.auto()
    """Kept, in order, until acknowledged; sent again in the next session where it is not."""
    SESSION = enum.auto()
    """An answer to a message of one session; dropped with it."""
    LATEST = enum.auto()
    """Only the newest counts; every session gets it."""


_DELIVERY: Final = {"job_update": Delivery.DURABLE, "status_update": Delivery.LATEST}


def delivery_of(message: WireMessage) -> Delivery:
    """Return how `message` is delivered, which its `type` decides."""
    return _DELIVERY.get(getattr(message, "type", ""), Delivery.SESSION)


@attrs.frozen(kw_only=True)
class _Queued:
    number: int  # its place in the order of sending; that of a DURABLE message never changes
    message: WireMessage
    frame: str = attrs.field(repr=False)  # may hold a token
    delivery: Delivery


@attrs.frozen(kw_only=True)
class _Sent:
    queued: _Queued
    sent_at: float


@attrs.frozen(kw_only=True)
class Item:
    """The message to send next, and in which session: `next` hands it out, `sent` takes it back."""

    epoch: int
    number: int
    message: WireMessage
    frame: str = attrs.field(repr=False)
    """The message, encoded."""
    delivery: Delivery


_Timestamp: TypeAlias = int
_Number: TypeAlias = int


class Outbox:
    """The messages not yet sent, and those not yet acknowledged.

    Sessions are numbered by their owner; such a number is an `epoch`. What comes late from a
    session that is gone, such as the end of a send or a pong, is ignored.

    Messages leave in the order in which they were put, with these exceptions: what announces a
    session goes first in it, and a newer LATEST message takes the place of an older one at the
    end of the line. All operations take constant time, amortized, but opening and losing a
    session, which take time linear in what is announced or was not acknowledged.
    """

    def __init__(self) -> None:
        self._epoch: int | None = None
        self._last_epoch: int | None = None
        self._next_number = 0
        self._session: deque[_Queued] = deque()
        self._durable: deque[_Queued] = deque()
        self._latest: _Queued | None = None
        self._latest_is_due = False
        self._sent: deque[_Sent] = deque()
        self._last_timestamp = -1
        # A ping, and the number of the last DURABLE message sent before it; both only grow.
        self._pings: OrderedDict[_Timestamp, _Number] = OrderedDict()

    def __repr__(self) -> str:
        return (
            f"<Outbox: epoch {self._epoch}, {self.pending} to send, "
            f"{len(self._sent)} unacknowledged, {len(self._pings)} pings>"
        )

    @property
    def epoch(self) -> int | None:
        """The number of the open session, or None."""
        return self._epoch

    @property
    def pending(self) -> int:
        """How many messages wait to be sent."""
        return len(self._session) + len(self._durable) + self._latest_is_due

    @property
    def awaits_acknowledgement(self) -> bool:
        """Whether a DURABLE message was sent and is not acknowledged."""
        return bool(self._sent)

    @property
    def unacknowledged(self) -> int:
        """How many DURABLE messages are not acknowledged, sent or not."""
        return len(self._durable) + len(self._sent)

    @property
    def awaiting_pong(self) -> bool:
        """Whether a ping is out whose pong would acknowledge a message: another one can wait."""
        return bool(self._pings)

    @property
    def is_settled(self) -> bool:
        """Whether all is sent, and all that is DURABLE is acknowledged."""
        return not self.pending and not self._sent

    def put(self, message: WireMessage, *, epoch: int | None = None) -> bool:
        """Queue `message`; return whether it will be sent.

        Args:
            message: The message; its `type` decides how it is delivered.
            epoch: The session that a SESSION message answers; None for the open one. A message
                for any other session is dropped.

        Raises:
            WireError: The message cannot be encoded; it is not queued.
        """
        delivery = delivery_of(message)
        match delivery:
            case Delivery.DURABLE:
                self._durable.append(self._queued(message, delivery))
            case Delivery.LATEST:
                self._latest = self._queued(message, delivery)
                self._latest_is_due = True
            case Delivery.SESSION:
                if self._epoch is None or epoch not in (None, self._epoch):
                    return False
                self._session.append(self._queued(message, delivery))
            case _:
                assert_never(delivery)
        return True

    def session_opened(self, epoch: int, *, announce: Sequence[WireMessage] = ()) -> None:
        """Begin to send in the session `epoch`, a greater number than that of any before.

        First goes what is in `announce`, then DURABLE messages without an acknowledgement, in
        order, then the newest LATEST message, sent before or not. The announcement is the caller's
        account of what is true now, so it dies with the session whatever its type: the next one
        gets a new one. A LATEST message in it counts as put, for it makes the older one untrue.

        Raises `IllegalTransitionError` while a session is open, or where `epoch` is not new, and
        `WireError` for an announcement that cannot be encoded.
        """
        if self._epoch is not None:
            raise IllegalTransitionError(f"session {epoch} opened while {self._epoch} is open")
        if self._last_epoch is not None and epoch <= self._last_epoch:
            raise IllegalTransitionError(f"session {epoch} opened after {self._last_epoch}")
        self._epoch = self._last_epoch = epoch
        # Below zero: in front of everything that was ever put.
        for number, message in enumerate(announce, start=-len(announce)):
            if delivery_of(message) is Delivery.LATEST:
                self.put(message)
            else:
                frame, delivery = encode(message), Delivery.SESSION
                self._session.append(
                    _Queued(number=number, message=message, frame=frame, delivery=delivery)
                )
        if self._latest is not None:
            self._latest = attrs.evolve(self._latest, number=self._take_number())
            self._latest_is_due = True

    def session_lost(self) -> None:
        """End the open session, if there is one: what is not acknowledged is sent again.

        It goes back to the front of the line, in its order; SESSION messages are dropped.
        """
        self._epoch = None
        self._durable.extendleft(sent.queued for sent in reversed(self._sent))
        self._sent.clear()
        self._session.clear()
        self._pings.clear()

    def next(self) -> Item | None:
        """Return what to send now, and go on returning it until it is `sent`; None for nothing.

        (Only a LATEST message that is replaced in the meantime is no longer returned.)
        """
        if self._epoch is None:
            return None
        first = self._latest if self._latest_is_due else None
        for lane in (self._session, self._durable):
            if lane and (first is None or lane[0].number < first.number):
                first = lane[0]
        if first is None:
            return None
        return Item(
            epoch=self._epoch,
            number=first.number,
            message=first.message,
            frame=first.frame,
            delivery=first.delivery,
        )

    def sent(self, item: Item, now: float) -> None:
        """Note that `item` was written, at `now`, in seconds.

        An item of a session that is gone changes nothing: it is sent again. Raises
        `IllegalTransitionError` where `item` is not the next one of its kind.
        """
        if item.epoch != self._epoch:
            return
        if item.delivery is Delivery.LATEST:
            self._sent_latest(item)
            return
        lane = self._durable if item.delivery is Delivery.DURABLE else self._session
        if not lane or lane[0].number != item.number:
            raise IllegalTransitionError("a message was sent twice, or out of order")
        queued = lane.popleft()
        if item.delivery is Delivery.DURABLE:
            self._sent.append(_Sent(queued=queued, sent_at=now))

    def next_ping(self, clock_ms: int) -> int:
        """Return the timestamp of the ping to send now, in milliseconds.

        It is greater than each timestamp before it, in any session. Otherwise two pings in one
        millisecond, or a clock that was set back, could mix up their pongs.

        Args:
            clock_ms: The time by any clock, in milliseconds.
        """
        self._last_timestamp = max(clock_ms, self._last_timestamp + 1)
        if self._sent:  # else it could acknowledge nothing
            self._pings[self._last_timestamp] = self._sent[-1].queued.number
            if len(self._pings) > _MAX_PINGS:
                self._pings.popitem(last=False)
        return self._last_timestamp

    def pong(self, timestamp: int | None) -> tuple[WireMessage, ...]:
        """Return the DURABLE messages that the pong acknowledges: those sent before its ping.

        A pong that no ping of this session waits for acknowledges nothing.
        """
        if timestamp is None or timestamp not in self._pings:
            return ()
        return self._acknowledge(self._pings[timestamp])

    def acknowledged_by_heartbeat(self, sent_before: float) -> tuple[WireMessage, ...]:
        """Return the DURABLE messages that a sign of life acknowledges: sent until `sent_before`.

        For a registry that answers no ping; how long before the sign of life a frame must have
        been sent is for the caller to judge.
        """
        number = None
        for sent in self._sent:
            if sent.sent_at > sent_before:
                break
            number = sent.queued.number
        return () if number is None else self._acknowledge(number)

    def _queued(self, message: WireMessage, delivery: Delivery) -> _Queued:
        frame = encode(message)
        return _Queued(number=self._take_number(), message=message, frame=frame, delivery=delivery)

    def _take_number(self) -> int:
        number = self._next_number
        self._next_number += 1
        return number

    def _sent_latest(self, item: Item) -> None:
        if self._latest is None or not self._latest_is_due or item.number > self._latest.number:
            raise IllegalTransitionError("a message was sent twice, or out of order")
        # Where they differ, a newer one was put while this one was being written: still due.
        self._latest_is_due = item.number != self._latest.number

    def _acknowledge(self, number: int) -> tuple[WireMessage, ...]:
        acknowledged = []
        while self._sent and self._sent[0].queued.number <= number:
            acknowledged.append(self._sent.popleft().queued.message)
        # Pings that acknowledge no more than this one has.
        while self._pings and next(iter(self._pings.values())) <= number:
            self._pings.popitem(last=False)
        return tuple(acknowledged)


class DeliveryTracker:
    """Asks once at a time after durable messages, and at each heartbeat in any case."""

    def __init__(self, outbox: Outbox, on_acknowledged: Callable[[WireMessage], None]) -> None:
        self._outbox = outbox
        self._on_acknowledged = on_acknowledged
        self._heartbeat_due = False
        self._timestamps: tuple[int, int] | None = None
        self._is_answered = False

    @property
    def is_answered(self) -> bool:
        """Whether a JSON ping was ever answered in this session."""
        return self._is_answered

    def session_opened(self) -> None:
        """Start anew: the next registry may be another one."""
        self._heartbeat_due = False
        self._timestamps = None
        self._is_answered = False

    def heartbeat(self) -> None:
        """Make a ping due, whether or not the last one was answered."""
        self._heartbeat_due = True

    def ping_due(self, wall_ms: int) -> WorkerPing | None:
        """Return the ping to send now, if one is due; `wall_ms` is the wall clock.

        Ask when nothing else is left to send, and send the ping at once: it acknowledges what was
        sent before this call.
        """
        wanted = self._outbox.awaits_acknowledgement and not self._outbox.awaiting_pong
        if not (wanted or self._heartbeat_due):
            return None
        self._heartbeat_due = False
        timestamp = self._outbox.next_ping(wall_ms)
        first = timestamp if self._timestamps is None else self._timestamps[0]
        self._timestamps = (first, timestamp)
        return WorkerPing(timestamp=timestamp)

    def pong(self, timestamp: int | None) -> None:
        """Note an answer to a JSON ping; one that this session did not send is none."""
        if timestamp is None or self._timestamps is None:
            return
        first, last = self._timestamps
        if first <= timestamp <= last:
            self._is_answered = True
            self._report(self._outbox.pong(timestamp))

    def survived(self, websocket_ping_sent_at: float) -> None:
        """Note that the link has lived long enough after an answered WebSocket ping.

        It counts only where JSON pings are not answered: a server's protocol layer
        answers WebSocket pings with frames still unread by the application.
        """
        if not self._is_answered:
            self._report(self._outbox.acknowledged_by_heartbeat(websocket_ping_sent_at))

    def _report(self, acknowledged: Iterable[WireMessage]) -> None:
        for message in acknowledged:
            self._on_acknowledged(message)
