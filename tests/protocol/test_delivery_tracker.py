"""When proof is asked for, and what counts as one."""

from __future__ import annotations

from vsdk_trio.protocol.messages import JobUpdate
from vsdk_trio.protocol.outbox import Outbox, Prover


def a_session() -> tuple[Outbox, Prover, list]:
    outbox, proven = Outbox(), []
    prover = Prover(outbox, proven.append)
    outbox.session_opened(1)
    prover.session_opened()
    return outbox, prover, proven


def send(outbox: Outbox, job_id: str, now: float) -> JobUpdate:
    message = JobUpdate(job_id=job_id, status="completed")
    outbox.put(message)
    item = outbox.next()
    assert item is not None
    outbox.sent(item, now)
    return message


def test_nothing_is_asked_without_need():
    _, prover, _ = a_session()
    assert prover.ping_due(5) is None
    prover.heartbeat()
    ping = prover.ping_due(5)
    assert ping is not None
    assert ping.timestamp == 5
    assert prover.ping_due(5) is None


def test_one_ping_at_a_time_and_its_answer_proves_what_was_before_it():
    outbox, prover, proven = a_session()
    first = send(outbox, "a", 1.0)
    ping = prover.ping_due(5)
    assert ping is not None
    second = send(outbox, "b", 2.0)
    assert prover.ping_due(6) is None
    prover.pong(ping.timestamp)
    assert proven == [first]
    again = prover.ping_due(5)
    assert again is not None
    assert again.timestamp is not None
    assert again.timestamp > 5
    prover.pong(again.timestamp)
    assert proven == [first, second]


def test_answers_to_what_was_not_asked_prove_nothing():
    outbox, prover, proven = a_session()
    send(outbox, "a", 1.0)
    prover.pong(5)
    ping = prover.ping_due(10)
    assert ping is not None
    for timestamp in (None, 9, 11):
        prover.pong(timestamp)
    assert (proven, prover.is_answered) == ([], False)


def test_a_websocket_pong_counts_only_where_json_pings_are_not_answered():
    outbox, prover, proven = a_session()
    first = send(outbox, "a", 1.0)
    prover.lived_on(0.5)
    assert proven == []
    prover.lived_on(1.0)
    assert proven == [first]
    second = send(outbox, "b", 2.0)
    ping = prover.ping_due(1)
    assert ping is not None
    prover.pong(ping.timestamp)
    third = send(outbox, "c", 3.0)
    prover.lived_on(9.0)
    assert proven == [first, second]
    outbox.session_lost()
    outbox.session_opened(2)
    prover.session_opened()
    item = outbox.next()
    assert item is not None
    assert item.message is third
    outbox.sent(item, 10.0)
    prover.lived_on(10.0)
    assert proven == [first, second, third]
