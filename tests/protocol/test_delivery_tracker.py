"""When proof is asked for, and what counts as one."""

from __future__ import annotations

from vsdk_trio.protocol.messages import JobUpdate
from vsdk_trio.protocol.outbox import DeliveryTracker, Outbox


def a_session() -> tuple[Outbox, DeliveryTracker, list]:
    outbox, proven = Outbox(), []
    deliveries = DeliveryTracker(outbox, proven.append)
    outbox.session_opened(1)
    deliveries.session_opened()
    return outbox, deliveries, proven


def send(outbox: Outbox, job_id: str, now: float) -> JobUpdate:
    message = JobUpdate(job_id=job_id, status="completed")
    outbox.put(message)
    item = outbox.next()
    assert item is not None
    outbox.sent(item, now)
    return message


def test_nothing_is_asked_without_need():
    _, deliveries, _ = a_session()
    assert deliveries.ping_due(5) is None
    deliveries.heartbeat()
    ping = deliveries.ping_due(5)
    assert ping is not None
    assert ping.timestamp == 5
    assert deliveries.ping_due(5) is None


def test_one_ping_at_a_time_and_its_answer_proves_what_was_before_it():
    outbox, deliveries, proven = a_session()
    first = send(outbox, "a", 1.0)
    ping = deliveries.ping_due(5)
    assert ping is not None
    second = send(outbox, "b", 2.0)
    assert deliveries.ping_due(6) is None
    deliveries.pong(ping.timestamp)
    assert proven == [first]
    again = deliveries.ping_due(5)
    assert again is not None
    assert again.timestamp is not None
    assert again.timestamp > 5
    deliveries.pong(again.timestamp)
    assert proven == [first, second]


def test_answers_to_what_was_not_asked_prove_nothing():
    outbox, deliveries, proven = a_session()
    send(outbox, "a", 1.0)
    deliveries.pong(5)
    ping = deliveries.ping_due(10)
    assert ping is not None
    for timestamp in (None, 9, 11):
        deliveries.pong(timestamp)
    assert (proven, deliveries.is_answered) == ([], False)


def test_a_websocket_pong_counts_only_where_json_pings_are_not_answered():
    outbox, deliveries, proven = a_session()
    first = send(outbox, "a", 1.0)
    deliveries.survived(0.5)
    assert proven == []
    deliveries.survived(1.0)
    assert proven == [first]
    second = send(outbox, "b", 2.0)
    ping = deliveries.ping_due(1)
    assert ping is not None
    deliveries.pong(ping.timestamp)
    third = send(outbox, "c", 3.0)
    deliveries.survived(9.0)
    assert proven == [first, second]
    outbox.session_lost()
    outbox.session_opened(2)
    deliveries.session_opened()
    item = outbox.next()
    assert item is not None
    assert item.message is third
    outbox.sent(item, 10.0)
    deliveries.survived(10.0)
    assert proven == [first, second, third]
