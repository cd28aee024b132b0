"""The outbox, case by case; test_outbox_machine.py has the same against a naive model."""

from __future__ import annotations

import time

import pytest

from vsdk_trio.errors import IllegalTransitionError, WireError
from vsdk_trio.protocol.messages import (
    AvailabilityResponse,
    JobUpdate,
    UpdateJobStatus,
    WireMessage,
    WorkerMessage,
    WorkerPing,
)
from vsdk_trio.protocol.outbox import Delivery, Item, Outbox, delivery_of


def update(job_id: str, status: str = "running") -> JobUpdate:
    return JobUpdate(job_id=job_id, status=status)


def answer(job_id: str) -> AvailabilityResponse:
    return AvailabilityResponse(job_id=job_id, available=True)


def status(job_count: int) -> WorkerMessage:
    return WorkerMessage("status_update", job_count=job_count)


def opened(epoch: int = 1) -> Outbox:
    outbox = Outbox()
    outbox.session_opened(epoch)
    return outbox


def item_of(outbox: Outbox) -> Item:
    item = outbox.next()
    assert item is not None
    return item


def send(outbox: Outbox, *, now: float = 0.0) -> WireMessage:
    item = item_of(outbox)
    outbox.sent(item, now)
    return item.message


def send_all(outbox: Outbox, *, now: float = 0.0) -> list[WireMessage]:
    return [send(outbox, now=now) for _ in range(outbox.pending)]


@pytest.mark.parametrize(
    ("message", "delivery"),
    [
        (update("a"), Delivery.DURABLE),
        (WorkerMessage("job_update", job_id="a"), Delivery.DURABLE),
        (status(0), Delivery.LATEST),
        (answer("a"), Delivery.SESSION),
        (WorkerPing(), Delivery.SESSION),
        (WorkerMessage("of the user's own"), Delivery.SESSION),
        (UpdateJobStatus("a", "running"), Delivery.SESSION),
    ],
)
def test_the_type_decides_how_a_message_is_delivered(
    message: WireMessage, delivery: Delivery
) -> None:
    assert delivery_of(message) is delivery


def test_nothing_is_sent_without_a_session() -> None:
    outbox = Outbox()
    assert outbox.put(update("a"))
    assert outbox.put(status(1))
    assert outbox.next() is None
    assert (outbox.pending, outbox.is_settled, outbox.epoch) == (2, False, None)
    assert outbox.unacknowledged == 1


def test_messages_leave_in_the_order_in_which_they_were_put() -> None:
    outbox = opened()
    messages = [update("a"), answer("b"), status(1), update("b"), answer("c")]
    for message in messages:
        assert outbox.put(message)
    assert send_all(outbox) == messages
    assert outbox.next() is None


def test_a_message_is_encoded_as_it_is_put_and_refused_where_it_cannot_be() -> None:
    outbox = opened()
    message = update("a")
    outbox.put(message)
    message.job_id = "another"
    assert '"job_id":"a"' in item_of(outbox).frame
    with pytest.raises(WireError, match="integer beyond 64 bits"):
        outbox.put(AvailabilityResponse(job_id="b", available=True, token=2**64))  # type: ignore[arg-type]  # on purpose
    assert outbox.pending == 1


def test_a_newer_status_takes_the_place_of_an_older_one_at_the_end() -> None:
    outbox = opened()
    for message in (status(1), update("a"), status(2), update("b"), status(3)):
        outbox.put(message)
    assert send_all(outbox) == [update("a"), update("b"), status(3)]


def test_next_is_a_peek() -> None:
    outbox = opened()
    outbox.put(update("a"))
    assert outbox.next() == outbox.next()
    assert outbox.pending == 1


def test_what_is_sent_is_kept_until_it_is_proven() -> None:
    outbox = opened()
    outbox.put(update("a"))
    send(outbox)
    assert outbox.awaits_acknowledgement
    assert not outbox.is_settled
    ping = outbox.next_ping(1000)
    assert outbox.awaiting_pong
    assert outbox.pong(ping) == (update("a"),)
    assert outbox.is_settled
    assert not outbox.awaits_acknowledgement
    assert not outbox.awaiting_pong
    assert outbox.pong(ping) == ()


def test_a_ping_proves_nothing_that_was_sent_after_it() -> None:
    outbox = opened()
    outbox.put(update("a"))
    send(outbox)
    first = outbox.next_ping(1000)
    outbox.put(update("b"))
    send(outbox)
    second = outbox.next_ping(1001)
    assert outbox.pong(first) == (update("a"),)
    assert outbox.awaits_acknowledgement
    assert outbox.pong(second) == (update("b"),)


def test_the_pong_of_a_later_ping_proves_all_and_makes_the_earlier_ones_moot() -> None:
    outbox = opened()
    for job_id in "ab":
        outbox.put(update(job_id))
        send(outbox)
        ping = outbox.next_ping(1000)
    assert outbox.pong(ping) == (update("a"), update("b"))
    assert outbox.pong(1000) == ()
    assert not outbox.awaiting_pong


@pytest.mark.parametrize("timestamp", [None, 0, 999, 1001])
def test_a_pong_that_answers_no_ping_proves_nothing(timestamp: int | None) -> None:
    outbox = opened()
    outbox.put(update("a"))
    send(outbox)
    outbox.next_ping(1000)
    assert outbox.pong(timestamp) == ()
    assert outbox.awaits_acknowledgement


def test_no_two_pings_share_a_timestamp() -> None:
    outbox = opened()
    idle = outbox.next_ping(1000)  # goes out before the message ...
    outbox.put(update("a"))
    send(outbox)
    outbox.next_ping(1000)  # ... in the same millisecond as the one after it
    assert outbox.pong(idle) == ()
    assert outbox.awaits_acknowledgement


def test_timestamps_grow_also_when_the_clock_is_set_back_and_over_sessions() -> None:
    outbox = opened()
    first = outbox.next_ping(1000)
    second = outbox.next_ping(500)
    outbox.session_lost()
    outbox.session_opened(2)
    third = outbox.next_ping(1000)
    assert first == 1000 < second < third < outbox.next_ping(2000) == 2000


def test_a_pong_of_a_session_that_is_gone_proves_nothing() -> None:
    outbox = opened()
    outbox.put(update("a"))
    send(outbox)
    ping = outbox.next_ping(1000)
    outbox.session_lost()
    assert outbox.pong(ping) == ()
    outbox.session_opened(2)
    send(outbox)
    assert outbox.pong(ping) == ()
    assert outbox.awaits_acknowledgement


def test_a_heartbeat_proves_what_was_sent_long_enough_before_it() -> None:
    outbox = opened()
    for second, job_id in enumerate("abc"):
        outbox.put(update(job_id))
        send(outbox, now=float(second))
    outbox.next_ping(1000)
    assert outbox.acknowledged_by_heartbeat(-1.0) == ()
    assert outbox.acknowledged_by_heartbeat(1.0) == (update("a"), update("b"))
    assert outbox.awaiting_pong
    assert outbox.acknowledged_by_heartbeat(9.0) == (update("c"),)
    assert outbox.is_settled
    assert not outbox.awaiting_pong
    assert outbox.acknowledged_by_heartbeat(9.0) == ()


def test_what_is_unproven_is_sent_again_first_and_in_order() -> None:
    outbox = opened()
    for job_id in "abcd":
        outbox.put(update(job_id))
    send(outbox)
    ping = outbox.next_ping(1000)
    send(outbox)
    send(outbox)
    outbox.pong(ping)
    outbox.session_lost()
    outbox.put(update("e"))
    outbox.session_opened(2)
    assert send_all(outbox) == [update(job_id) for job_id in "bcde"]


def test_a_break_while_a_message_is_being_written_sends_it_again() -> None:
    outbox = opened()
    outbox.put(update("a"))
    outbox.put(update("a", "completed"))
    item = item_of(outbox)
    outbox.session_lost()
    outbox.sent(item, 1.0)  # the send that was under way comes back after all
    outbox.session_opened(2)
    outbox.sent(item, 2.0)  # or even later
    assert send_all(outbox) == [update("a"), update("a", "completed")]


def test_sessions_that_break_again_and_again_lose_nothing_and_reorder_nothing() -> None:
    outbox = Outbox()
    updates = [update(str(number)) for number in range(5)]
    for message in updates:
        outbox.put(message)
    for epoch in range(1, 20):
        outbox.session_opened(epoch)
        sent = [send(outbox) for _ in range(epoch % 6)]
        assert sent == updates[: len(sent)]
        outbox.session_lost()
    outbox.session_opened(20)
    assert send_all(outbox) == updates
    assert outbox.pong(outbox.next_ping(0)) == tuple(updates)


def test_an_answer_goes_out_in_its_own_session_only() -> None:
    outbox = Outbox()
    assert not outbox.put(answer("a"))
    outbox.session_opened(1)
    assert not outbox.put(answer("a"), epoch=0)
    assert not outbox.put(answer("a"), epoch=2)
    assert outbox.put(answer("b"), epoch=1)
    assert outbox.put(answer("c"))
    outbox.session_lost()
    assert not outbox.put(answer("d"), epoch=1)
    outbox.session_opened(2)
    assert outbox.next() is None
    assert outbox.is_settled


def test_the_announcement_goes_first_then_what_is_durable_then_the_status() -> None:
    outbox = Outbox()
    outbox.put(status(1))
    outbox.put(update("a", "completed"))
    outbox.session_opened(1, announce=[update("b"), update("c")])
    outbox.put(answer("d"))
    assert send_all(outbox) == [
        update("b"),
        update("c"),
        update("a", "completed"),
        status(1),
        answer("d"),
    ]


def test_the_announcement_may_repeat_what_is_queued_and_needs_no_proof() -> None:
    outbox = Outbox()
    outbox.put(update("a"))
    outbox.session_opened(1, announce=[update("a")])
    outbox.put(update("a", "completed"))
    sent = send_all(outbox)
    assert sent == [update("a"), update("a"), update("a", "completed")]
    assert outbox.pong(outbox.next_ping(0)) == tuple(sent[1:])


def test_the_announcement_dies_with_its_session() -> None:
    outbox = Outbox()
    outbox.session_opened(1, announce=[update("a"), update("b")])
    send(outbox)
    outbox.session_lost()
    outbox.session_opened(2, announce=[update("b")])
    assert send_all(outbox) == [update("b")]


def test_a_status_in_the_announcement_counts_as_put() -> None:
    outbox = Outbox()
    outbox.put(status(1))
    outbox.put(update("a", "completed"))
    outbox.session_opened(1, announce=[status(2), update("b")])
    assert send_all(outbox) == [update("b"), update("a", "completed"), status(2)]


def test_every_session_gets_the_newest_status_once() -> None:
    outbox = opened()
    outbox.put(status(1))
    assert send_all(outbox) == [status(1)]
    outbox.session_lost()
    assert outbox.is_settled  # a status that was sent is no reason to wait for a session
    outbox.session_opened(2)
    assert send_all(outbox) == [status(1)]
    outbox.session_lost()
    outbox.put(status(2))
    outbox.put(status(3))
    outbox.session_opened(3)
    assert send_all(outbox) == [status(3)]


def test_a_status_that_is_replaced_while_it_is_being_written_is_followed_by_the_newer() -> None:
    outbox = opened()
    outbox.put(status(1))
    item = item_of(outbox)
    outbox.put(status(2))
    outbox.sent(item, 1.0)
    assert send_all(outbox) == [status(2)]
    assert outbox.is_settled


@pytest.mark.parametrize("message", [update("a"), answer("a"), status(1)])
def test_nothing_can_be_sent_twice(message: WireMessage) -> None:
    outbox = opened()
    outbox.put(message)
    item = item_of(outbox)
    outbox.sent(item, 1.0)
    with pytest.raises(IllegalTransitionError):
        outbox.sent(item, 2.0)


def test_nothing_can_be_sent_out_of_order() -> None:
    outbox, ahead = opened(), opened()
    for message in (update("a"), update("b"), status(1)):
        outbox.put(message)
        ahead.put(message)
    send(ahead)
    before = repr(outbox)
    with pytest.raises(IllegalTransitionError):
        outbox.sent(item_of(ahead), 1.0)
    assert repr(outbox) == before
    send(ahead)
    ahead.put(status(2))
    with pytest.raises(IllegalTransitionError):
        outbox.sent(item_of(ahead), 1.0)
    with pytest.raises(IllegalTransitionError):
        opened().sent(item_of(ahead), 1.0)
    assert send_all(outbox) == [update("a"), update("b"), status(1)]


def test_a_session_is_opened_once_and_under_a_new_number() -> None:
    outbox = opened(5)
    with pytest.raises(IllegalTransitionError):
        outbox.session_opened(6)
    assert outbox.epoch == 5
    outbox.session_lost()
    outbox.session_lost()  # nothing to lose is no error
    with pytest.raises(IllegalTransitionError):
        outbox.session_opened(5)
    assert outbox.epoch is None
    outbox.session_opened(6)


def test_pings_that_are_never_answered_take_bounded_memory() -> None:
    outbox = opened()
    outbox.put(update("a"))
    send(outbox)
    pings = [outbox.next_ping(number) for number in range(10_000)]
    assert repr(outbox) == "<Outbox: epoch 1, 0 to send, 1 unacknowledged, 256 pings>"
    assert outbox.pong(pings[0]) == ()
    assert outbox.pong(pings[-1]) == (update("a"),)


def test_a_large_backlog_takes_linear_time() -> None:
    def seconds(size: int) -> float:
        outbox = Outbox()
        messages = [update(str(number)) for number in range(size)]
        started = time.process_time()
        for message in messages:
            outbox.put(message)
        for epoch in range(3):
            outbox.session_opened(epoch, announce=messages)
            for number in range(outbox.pending):
                send(outbox, now=float(number))
            outbox.session_lost()
        outbox.session_opened(3)
        for number in range(outbox.pending):
            send(outbox, now=float(number))
            if number % 2:
                outbox.pong(outbox.next_ping(number))
        assert outbox.is_settled
        return time.process_time() - started

    # A quadratic one would take 400 times as long; generous, since this is measured.
    assert seconds(20_000) < 100 * max(seconds(1_000), 0.005)
