"""The inbox: one consumer, in order; and the memory for assignments."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from vsdk_trio import backend
from vsdk_trio._exceptions import single_errors
from vsdk_trio.backend import JobAssignment, JobTermination, SessionLost
from vsdk_trio.backend.events import QUEUE_LENGTH, Assignments, Inbox


async def test_a_full_inbox_waits_for_its_consumer_but_not_for_nobody(autojump_clock):
    inbox = Inbox()
    event = JobTermination(job_id="j")
    for _ in range(QUEUE_LENGTH):
        assert await inbox.deliver(event, may_drop=False)
    assert not await inbox.deliver(event, may_drop=False)
    events = inbox.events()
    assert not await inbox.deliver(event, may_drop=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: inbox.deliver(SessionLost("r"), may_drop=False))
        await trio.sleep(1)
        assert await events.receive() == event
    inbox.close()
    assert [e async for e in events][-1] == SessionLost("r")


async def test_a_consumer_that_closed_its_end_wants_nothing_more():
    inbox = Inbox()
    inbox.events().close()
    assert not await inbox.deliver(SessionLost("r"), may_drop=False)


async def test_a_consumer_that_closes_its_end_while_we_wait_for_it(autojump_clock):
    inbox = Inbox()
    events = inbox.events()
    while inbox.offer(SessionLost("r")):
        pass
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: inbox.deliver(SessionLost("r"), may_drop=False))
        await trio.sleep(1)
        events.close()


async def test_events_without_a_callback_are_passed_over():
    inbox, seen = Inbox(), []
    inbox.set_callback(SessionLost, seen.append)
    await inbox.deliver(JobTermination(job_id="j"), may_drop=False)
    await inbox.deliver(SessionLost("r"), may_drop=False)
    inbox.close()
    await inbox.run_callbacks()
    assert seen == [SessionLost("r")]


async def test_a_handler_gets_what_has_come_and_then_each_event_at_once():
    inbox, seen = Inbox(), []
    await inbox.deliver(JobTermination(job_id="early"), may_drop=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(inbox.hand_to, seen.append)
        await trio.testing.wait_all_tasks_blocked()
        assert seen == [JobTermination(job_id="early")]
        assert inbox.offer(SessionLost("r"))
        assert seen[-1] == SessionLost("r")  # before any task has run
        nursery.cancel_scope.cancel()
    inbox.offer(SessionLost("kept"))
    assert inbox.events().receive_nowait() == SessionLost("kept")


async def test_what_a_handler_raises_comes_out_where_it_was_given():
    inbox = Inbox()

    def handle(event):
        raise ValueError("a bug")

    with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="a bug")):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(inbox.hand_to, handle)
            await trio.testing.wait_all_tasks_blocked()
            assert inbox.offer(SessionLost("bad"))
            assert inbox.offer(SessionLost("kept"))
    assert inbox.events().receive_nowait() == SessionLost("kept")
    inbox.offer(SessionLost("bad"))
    with pytest.raises(ValueError, match="a bug"):
        await inbox.hand_to(handle)


async def test_a_handler_is_a_consumer():
    inbox = Inbox()
    inbox.set_callback(SessionLost, print)
    with pytest.raises(RuntimeError, match="has callbacks"):
        await inbox.hand_to(print)


async def test_the_memory_of_assignments_is_bounded(autojump_clock):
    assignments = Assignments()
    for n in range(100):
        assignments.arrived(JobAssignment(job_id=str(n)))
    assert (await assignments.wait("99")).job_id == "99"
    with trio.move_on_after(1) as scope:
        await assignments.wait("0")
    assert scope.cancelled_caught


def test_single_errors():
    with pytest.raises(KeyError), single_errors():
        raise ExceptionGroup("a", [ExceptionGroup("b", [KeyError("k")])])
    with pytest.raises(ExceptionGroup, match="a"), single_errors():
        raise ExceptionGroup("a", [KeyError("k"), ValueError("v")])
    with pytest.raises(KeyError), single_errors():
        raise KeyError("k")


def test_the_names_of_the_reference():
    for name in backend.__all__:
        assert getattr(backend, name) is not None
        assert name in dir(backend)
    with pytest.raises(AttributeError, match="Nothing"):
        backend.Nothing  # noqa: B018
