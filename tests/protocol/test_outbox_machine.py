"""The outbox against a naive model, and against a registry that hears only part of what is sent.

The model keeps plain lists and searches them; it has no numbers, no lanes and no shortcuts. The
registry takes frames in the order of sending, as far as the socket lives, and answers pings when
it gets to them.
"""

from __future__ import annotations

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from vsdk_trio.protocol.messages import AvailabilityResponse, JobUpdate, WireMessage, WorkerMessage
from vsdk_trio.protocol.outbox import Delivery, Item, Outbox, delivery_of


@attrs.define(eq=False)
class Entry:
    """One message of the model; told from its equals by identity."""

    message: WireMessage
    announced: bool = False
    sent_in: int | None = None
    sent_at: float = 0.0
    proven: bool = False

    @property
    def delivery(self) -> Delivery:
        return Delivery.SESSION if self.announced else delivery_of(self.message)


class OutboxMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.outbox = Outbox()
        self.now = 0.0
        self.epochs = 0
        self.is_open = False
        self.serial = 0
        # The model: what is to be sent in the present session, in order; and all that is durable.
        self.line: list[Entry] = []
        self.durable: list[Entry] = []
        self.latest: Entry | None = None
        self.latest_due = False
        self.stale: list[Item] = []
        # The socket and the registry: frames on their way, and what has been heard, ever.
        self.wire: list[Entry | int] = []
        self.pongs: list[int] = []
        self.pings: dict[int, list[Entry]] = {}
        self.heard: list[WireMessage] = []
        self.heard_in_session: list[WireMessage] = []

    def fresh(self, kind: str) -> WireMessage:
        self.serial += 1
        match kind:
            case "job_update":
                return JobUpdate(job_id=f"j{self.serial % 3}", status=str(self.serial))
            case "status_update":
                return WorkerMessage("status_update", job_count=self.serial)
            case _:
                return AvailabilityResponse(job_id=str(self.serial))

    # What the worker does

    @rule(again=st.booleans())
    def put_durable(self, again: bool) -> None:
        repeat = again and bool(self.durable)
        message = self.durable[-1].message if repeat else self.fresh("job_update")
        assert self.outbox.put(message)
        entry = Entry(message)
        self.durable.append(entry)
        self.line.append(entry)

    @rule(epoch_back=st.integers(-1, 2), unnamed=st.booleans())
    def put_answer(self, epoch_back: int, unnamed: bool) -> None:
        message = self.fresh("availability_response")
        taken = self.outbox.put(message, epoch=None if unnamed else self.epochs - epoch_back)
        assert taken == (self.is_open and (unnamed or epoch_back == 0))
        if taken:
            self.line.append(Entry(message))

    @rule()
    def put_status(self) -> None:
        self._put_status(self.fresh("status_update"))

    def _put_status(self, message: WireMessage, *, announced: bool = False) -> None:
        if not announced:
            assert self.outbox.put(message)
        if self.latest in self.line:
            self.line.remove(self.latest)
        self.latest, self.latest_due = Entry(message), True
        self.line.append(self.latest)

    # What the connection does

    @precondition(lambda self: not self.is_open)
    @rule(running=st.integers(0, 3), skipped=st.integers(1, 3), with_status=st.booleans())
    def open_session(self, running: int, skipped: int, with_status: bool) -> None:
        self.epochs += skipped
        self.is_open = True
        announce = [self.fresh("job_update") for _ in range(running)]
        given = list(announce)
        if with_status:
            given.insert(running // 2, self.fresh("status_update"))
            self.latest = Entry(given[running // 2])
        self.outbox.session_opened(self.epochs, announce=given)
        self.line = [Entry(message, announced=True) for message in announce]
        self.line += [entry for entry in self.durable if not entry.proven]
        if self.latest is not None:
            self.latest = Entry(self.latest.message)
            self.latest_due = True
            self.line.append(self.latest)

    @precondition(lambda self: self.is_open)
    @rule(while_writing=st.booleans())
    def lose_session(self, while_writing: bool) -> None:
        item = self.outbox.next()
        if while_writing and item is not None:
            self.stale.append(item)
        self.outbox.session_lost()
        self.is_open = False
        self.line = [entry for entry in self.durable if not entry.proven]
        if self.latest is not None and self.latest_due:
            self.line.append(self.latest)
        self.wire.clear()
        self.pongs.clear()
        self.pings.clear()
        self.heard_in_session = []

    @precondition(lambda self: bool(self.stale))
    @rule()
    def a_send_of_a_lost_session_returns(self) -> None:
        before = repr(self.outbox)
        self.outbox.sent(self.stale.pop(), self.now)
        assert repr(self.outbox) == before

    @rule(seconds=st.floats(0, 5), status_meanwhile=st.booleans())
    def send(self, seconds: float, status_meanwhile: bool) -> None:
        item = self.outbox.next()
        if not self.is_open or not self.line:
            assert item is None
            return
        entry = self.line[0]
        assert item is not None
        assert item.message is entry.message
        assert item.delivery is entry.delivery
        assert item.epoch == self.epochs
        if status_meanwhile:
            self.put_status()  # takes the entry off the line, if it is a status
        self.now += seconds
        self.outbox.sent(item, self.now)
        if entry in self.line:
            self.line.remove(entry)
        if entry is self.latest:
            self.latest_due = False
        entry.sent_in, entry.sent_at = self.epochs, self.now
        self.wire.append(entry)

    @precondition(lambda self: self.is_open)
    @rule(clock_ms=st.integers(0, 3))
    def ping(self, clock_ms: int) -> None:
        timestamp = self.outbox.next_ping(clock_ms)
        assert timestamp not in self.pings
        self.wire.append(timestamp)
        self.pings[timestamp] = self.unproven

    # What the registry does

    @precondition(lambda self: bool(self.wire))
    @rule(count=st.integers(1, 6))
    def registry_takes_frames(self, count: int) -> None:
        for frame in self.wire[:count]:
            if isinstance(frame, Entry):
                self.heard.append(frame.message)
                self.heard_in_session.append(frame.message)
            else:
                self.pongs.append(frame)
        del self.wire[:count]

    @precondition(lambda self: bool(self.pongs))
    @rule()
    def registry_answers_a_ping(self) -> None:
        timestamp = self.pongs.pop(0)
        self.expect_proven(
            self.outbox.pong(timestamp),
            [entry for entry in self.pings.pop(timestamp) if not entry.proven],
        )

    @rule(timestamp=st.none() | st.integers(-2, -1) | st.just(10**9))
    def registry_answers_what_was_not_asked(self, timestamp: int | None) -> None:
        assert self.outbox.pong(timestamp) == ()

    @rule(seconds=st.floats(0, 10))
    def registry_shows_a_sign_of_life(self, seconds: float) -> None:
        sent_before = self.now - seconds
        # As far as the caller judges rightly, which the model must see to.
        on_the_wire = [frame for frame in self.wire if isinstance(frame, Entry)]
        if any(entry.sent_at <= sent_before for entry in on_the_wire):
            return
        self.expect_proven(
            self.outbox.acknowledged_by_heartbeat(sent_before),
            [entry for entry in self.unproven if entry.sent_at <= sent_before],
        )

    def expect_proven(self, proven: tuple[WireMessage, ...], expected: list[Entry]) -> None:
        assert [id(message) for message in proven] == [id(entry.message) for entry in expected]
        for entry in expected:
            entry.proven = True

    # What is always true

    @property
    def unproven(self) -> list[Entry]:
        """The durable ones sent in the open session and not proven."""
        if not self.is_open:
            return []
        return [
            entry for entry in self.durable if entry.sent_in == self.epochs and not entry.proven
        ]

    @invariant()
    def the_outbox_agrees_with_the_model(self) -> None:
        assert self.outbox.pending == len(self.line)
        assert self.outbox.awaits_acknowledgement == bool(self.unproven)
        assert self.outbox.is_settled == (not self.line and not self.unproven)
        assert self.outbox.epoch == (self.epochs if self.is_open else None)
        # Which pings can still prove something is seen from outside only by this.
        useful = any(not entry.proven for sent in self.pings.values() for entry in sent)
        assert self.outbox.awaiting_pong == useful

    @invariant()
    def what_is_proven_was_heard(self) -> None:
        heard = {id(message) for message in self.heard}
        assert all(id(entry.message) in heard for entry in self.durable if entry.proven)

    @invariant()
    def one_session_hears_durable_messages_in_their_order(self) -> None:
        order = {id(entry.message): index for index, entry in enumerate(self.durable)}
        places = [order[id(message)] for message in self.heard_in_session if id(message) in order]
        assert places == sorted(places)

    def teardown(self) -> None:
        """However it went: one session that lasts, and the registry has heard all of it."""
        if self.is_open:
            self.lose_session(while_writing=False)
        self.open_session(running=1, skipped=1, with_status=False)
        while self.line:
            self.send(seconds=0.0, status_meanwhile=False)
        self.ping(clock_ms=0)
        self.registry_takes_frames(count=len(self.wire))
        while self.pongs:
            self.registry_answers_a_ping()
        assert self.outbox.is_settled
        assert self.outbox.next() is None
        heard = {id(message) for message in self.heard}
        assert all(id(entry.message) in heard for entry in self.durable)
        assert self.latest is None or self.heard[-1] is self.latest.message


OutboxMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=60)
TestOutboxMachine = OutboxMachine.TestCase
