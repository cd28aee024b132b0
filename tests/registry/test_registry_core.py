"""The registry over memory links on a mock clock: what workers and callers see, and when."""

from __future__ import annotations

import json
import math
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from vsdk_trio.errors import WireError
from vsdk_trio.registry.actions import DispatchError, DispatchFailure, UnknownJobError
from vsdk_trio.registry.core import Registry, open_registry_core
from vsdk_trio.registry.ledger import DispatchRequest, LedgerState
from vsdk_trio.registry.placement import Policy
from vsdk_trio.registry.switchboard import LinkClosed

REQUEST = DispatchRequest(agent_id="a", room_id="r", metadata={"k": "v"})


@attrs.define(eq=False)
class Peer:
    """The worker's end of a memory link; `closed` is what the registry said at its end."""

    to_registry: trio.MemorySendChannel[str | bytes]
    from_registry: trio.MemoryReceiveChannel[str]
    closed: list[tuple[int, str]]

    async def say(self, type_: str, **fields: Any) -> None:
        await self.to_registry.send(json.dumps({"type": type_, **fields}))

    async def hear(self, type_: str | None = None) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(await self.from_registry.receive())
        assert type_ is None or message["type"] == type_
        return message

    async def register(self, worker_id: str = "", **fields: Any) -> str:
        known = {"worker_id": worker_id, "agent_name": "a", "version": "1.0.0"}
        await self.say("register", **(known | fields))
        return str((await self.hear("register"))["worker_id"])

    async def accept(self) -> str:
        job_id = (await self.hear("availability_request"))["job_id"]
        await self.say("availability_response", job_id=job_id, available=True)
        assert (await self.hear("job_assignment"))["job_id"] == job_id
        return str(job_id)

    def cut(self) -> None:
        self.to_registry.close()
        self.from_registry.close()


@attrs.define(eq=False)
class MemoryLink:
    """The registry's end."""

    incoming: trio.MemoryReceiveChannel[str | bytes]
    outgoing: trio.MemorySendChannel[str]
    closed: list[tuple[int, str]]

    async def receive(self) -> str | bytes:
        try:
            return await self.incoming.receive()
        except trio.EndOfChannel:
            raise LinkClosed from None

    async def send(self, text: str) -> None:
        try:
            await self.outgoing.send(text)
        except trio.BrokenResourceError:
            raise LinkClosed from None

    async def close(self, code: int, reason: str) -> None:
        await trio.lowlevel.checkpoint()
        self.closed.append((code, reason))
        self.outgoing.close()


@attrs.define(eq=False)
class Hall:
    """A running registry, and the way in for workers."""

    registry: Registry
    links: trio.Nursery

    def peer(self, *, reads: float = math.inf) -> Peer:
        in_send, in_receive = trio.open_memory_channel[str | bytes](100)
        out_send, out_receive = trio.open_memory_channel[str](reads)
        closed: list[tuple[int, str]] = []
        link = MemoryLink(in_receive, out_send, closed)
        self.links.start_soon(self.registry.serve_worker, link)
        return Peer(in_send, out_receive, closed)


@asynccontextmanager
async def open_hall(**options: Any) -> AsyncIterator[Hall]:
    registry = Registry(rng=random.Random(7), **options)
    async with trio.open_nursery() as links, open_registry_core(registry):
        yield Hall(registry, links)


async def test_a_job_end_to_end(autojump_clock: MockClock) -> None:
    async with open_hall() as hall, trio.open_nursery() as nursery:
        peer = hall.peer()
        worker_id = await peer.register(max_processes=3)
        await peer.say("status_update", worker_id=worker_id, status="available", load=0.0)
        job_ids: list[str] = []

        async def dispatch() -> None:
            job_ids.append((await hall.registry.dispatch(REQUEST)).job_id)

        nursery.start_soon(dispatch)
        job_id = await peer.accept()
        await wait_all_tasks_blocked()
        assert job_ids == [job_id]
        await peer.say("job_update", job_id=job_id, status="running")
        await peer.say("job_update", job_id=job_id, status="failed", error="x" * 5_000)
        job = await hall.registry.wait_ended(job_id)
        assert job.state is LedgerState.FAILED
        assert job.error == "x" * 1_999 + "…"
        assert await hall.registry.wait_ended(job_id) == job
        assert [u.status for u in hall.registry.updates(job_id)] == ["running", "failed"]
        assert hall.registry.jobs() == (job,)
        assert [worker.capacity for worker in hall.registry.workers()] == [3]


async def test_the_same_seed_gives_the_same_ids(autojump_clock: MockClock) -> None:
    async def ids() -> tuple[str, str]:
        async with open_hall() as hall:
            return await hall.peer().register(), hall.registry.create_room()

    assert await ids() == await ids()


async def test_nobody_answers_and_the_next_worker_gets_it(autojump_clock: MockClock) -> None:
    async with open_hall() as hall, trio.open_nursery() as nursery:
        silent, willing = hall.peer(), hall.peer()
        await silent.register()
        await willing.register()
        nursery.start_soon(hall.registry.dispatch, REQUEST)
        await silent.hear("availability_request")
        start = trio.current_time()
        await willing.accept()
        assert trio.current_time() - start == pytest.approx(5.0)


async def test_a_dispatch_fails_with_its_job(autojump_clock: MockClock) -> None:
    async with open_hall() as hall:
        with pytest.raises(DispatchError, match="Agent Not Deployed") as without_job:
            await hall.registry.dispatch(REQUEST)
        assert without_job.value.job is None
        await hall.peer().register()
        with pytest.raises(DispatchError, match="No workers available") as with_job:
            await hall.registry.dispatch(REQUEST)
        assert with_job.value.failure is DispatchFailure.NO_WORKERS_AVAILABLE
        assert with_job.value.job is not None


@pytest.mark.parametrize("steps", range(10))
async def test_a_dispatch_at_any_moment_of_a_links_end_fails_as_others_do(
    steps: int, autojump_clock: MockClock
) -> None:
    async with open_hall() as hall:
        peer = hall.peer()
        await peer.register(max_processes=3)
        await wait_all_tasks_blocked()
        peer.cut()
        for _ in range(steps):
            await trio.lowlevel.checkpoint()
        with pytest.raises(DispatchError):
            await hall.registry.dispatch(REQUEST)


async def test_a_cancelled_dispatch_withdraws_its_job(autojump_clock: MockClock) -> None:
    async with open_hall() as hall:
        peer = hall.peer()
        await peer.register()
        with trio.move_on_after(1.0):
            await hall.registry.dispatch(REQUEST)
        offer = await peer.hear("availability_request")
        await peer.say("availability_response", job_id=offer["job_id"], available=True)
        await wait_all_tasks_blocked()
        assert hall.registry.job(offer["job_id"]).state is LedgerState.CANCELLED


async def test_a_payload_that_fits_no_frame_is_refused_before_anything_is_offered(
    autojump_clock: MockClock,
) -> None:
    async with open_hall() as hall:
        await hall.peer().register()
        with pytest.raises(WireError):
            await hall.registry.dispatch(attrs.evolve(REQUEST, metadata={"k": object()}))
        assert hall.registry.jobs() == ()


async def test_terminate_reaches_the_worker(autojump_clock: MockClock) -> None:
    async with open_hall() as hall, trio.open_nursery() as nursery:
        peer = hall.peer()
        await peer.register()
        nursery.start_soon(hall.registry.dispatch, REQUEST)
        job_id = await peer.accept()
        assert hall.registry.terminate(job_id, "enough").terminating == "enough"
        assert (await peer.hear("job_termination"))["reason"] == "enough"
        with pytest.raises(UnknownJobError):
            hall.registry.terminate("nope")
        with pytest.raises(UnknownJobError):
            await hall.registry.wait_ended("nope")


async def test_a_wait_for_the_end_may_be_given_up(autojump_clock: MockClock) -> None:
    async with open_hall() as hall, trio.open_nursery() as nursery:
        peer = hall.peer()
        await peer.register()
        nursery.start_soon(hall.registry.dispatch, REQUEST)
        job_id = await peer.accept()
        with trio.move_on_after(1.0) as scope:
            await hall.registry.wait_ended(job_id)
        assert scope.cancelled_caught


async def test_a_worker_that_comes_back_in_time_keeps_its_job(autojump_clock: MockClock) -> None:
    async with open_hall() as hall, trio.open_nursery() as nursery:
        peer = hall.peer()
        worker_id = await peer.register()
        nursery.start_soon(hall.registry.dispatch, REQUEST)
        job_id = await peer.accept()
        await peer.say("job_update", job_id=job_id, status="running")
        peer.cut()
        await trio.sleep(59.0)
        again = hall.peer()
        assert await again.register(worker_id) == worker_id
        await again.say("job_update", job_id=job_id, status="running")
        await trio.sleep(120.0)
        assert hall.registry.job(job_id).state is LedgerState.RUNNING


async def test_a_worker_that_stays_away_loses_its_job(autojump_clock: MockClock) -> None:
    async with open_hall(policy=Policy(reconnect_grace=30.0)) as hall:
        async with trio.open_nursery() as nursery:
            peer = hall.peer()
            await peer.register()
            nursery.start_soon(hall.registry.dispatch, REQUEST)
            job_id = await peer.accept()
        start = trio.current_time()
        peer.cut()
        job = await hall.registry.wait_ended(job_id)
        assert (job.error, trio.current_time() - start) == ("worker lost", pytest.approx(30.0))


async def test_a_new_link_takes_the_identity_over_from_a_stale_one(
    autojump_clock: MockClock,
) -> None:
    async with open_hall() as hall:
        stale = hall.peer()
        worker_id = await stale.register()
        fresh = hall.peer()
        assert await fresh.register(worker_id) == worker_id
        await stale.say("status_update", status="offline")
        await wait_all_tasks_blocked()
        assert [code for code, _ in stale.closed] == [4001]
        assert [(w.worker_id, w.away, w.status) for w in hall.registry.workers()] == [
            (worker_id, False, "")
        ]
        await fresh.say("ping", timestamp=1)
        assert await fresh.hear() == {"type": "pong", "timestamp": 1}


async def test_an_id_that_is_junk_or_anothers_is_not_given(autojump_clock: MockClock) -> None:
    async with open_hall() as hall:
        worker_id = await hall.peer().register("mine")
        assert worker_id == "mine"
        assert await hall.peer().register("mine", agent_name="another") != "mine"
        assert await hall.peer().register("x" * 500) != "x" * 500
        assert await hall.peer().register("a\x1b[2Jb") != "a\x1b[2Jb"


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"token": "wrong"}, "invalid token"),
        ({}, "invalid token"),
        ({"token": "s3cret", "agent_name": ""}, "agent_name"),
        ({"token": "s3cret", "agent_name": "x" * 300}, "agent_name"),
    ],
)
async def test_a_registration_can_be_refused(
    fields: dict[str, Any], why: str, autojump_clock: MockClock
) -> None:
    async with open_hall(auth_token="s3cret") as hall:
        peer = hall.peer()
        await peer.say("register", **({"agent_name": "a"} | fields))
        answer = await peer.hear("register")
        assert answer["success"] is False
        assert why in answer["message"]
        assert "s3cret" not in json.dumps(answer)
        await wait_all_tasks_blocked()
        assert [code for code, _ in peer.closed] == [1008]
        assert hall.registry.workers() == ()


def test_a_token_with_and_without_bearer() -> None:
    registry = Registry(auth_token="s3cret")
    tokens = ["s3cret", "Bearer s3cret", "Bearer", "s3cre", "s3cret ", "\u00e9", "", None]
    assert [registry.is_authorized(token) for token in tokens] == [True, True] + [False] * 6
    assert Registry().is_authorized(None)


async def test_silence_junk_and_too_many_links(autojump_clock: MockClock) -> None:
    async with open_hall(max_links=2) as hall:
        silent, good = hall.peer(), hall.peer()
        await good.register()
        over = hall.peer()
        await over.say("register", agent_name="a")
        await wait_all_tasks_blocked()
        assert over.closed == [(1008, "too many workers")]
        await silent.say("status_update", status="idle")  # before it has registered
        await trio.sleep(11.0)
        assert silent.closed == [(1008, "no register in time")]
        for junk in ("", "{", "[]", b"\xff", '{"type": 5}', '{"type": "new thing"}', "[" * 5000):
            await good.to_registry.send(junk)
        await good.say("job_update", job_id="x" * 1_000, status="running")
        await good.say("availability_response", job_id="nobody asked", available=True)
        await good.say("register", agent_name="a")
        await good.say("ping", timestamp=2)
        assert await good.hear() == {"type": "pong", "timestamp": 2}
        assert hall.registry.jobs() == ()


async def test_one_that_does_not_read_costs_only_itself(autojump_clock: MockClock) -> None:
    async with open_hall() as hall:
        deaf, good = hall.peer(reads=1), hall.peer()
        await deaf.register()
        await good.register()
        for n in range(300):
            await deaf.say("ping", timestamp=n)
        await good.say("ping", timestamp=7)
        assert (await good.hear())["timestamp"] == 7
        await trio.sleep(11.0)
        assert len(hall.registry.workers()) == 1


async def test_a_worker_that_speaks_the_short_form_gets_the_short_form(
    autojump_clock: MockClock,
) -> None:
    async with open_hall() as hall, trio.open_nursery() as nursery:
        old, new = hall.peer(), hall.peer()
        await old.register(agent_name="old", version=None)
        await new.register(agent_name="new")
        nursery.start_soon(hall.registry.dispatch, attrs.evolve(REQUEST, agent_id="old"))
        nursery.start_soon(hall.registry.dispatch, attrs.evolve(REQUEST, agent_id="new"))
        short = await old.hear("availability_request")
        assert set(short) == {"type", "job_id", "room_id", "agent_name"}
        assert set(await new.hear("availability_request")) > set(short)
        nursery.cancel_scope.cancel()


async def test_closing_says_1001_and_withdraws_what_nobody_has(autojump_clock: MockClock) -> None:
    failures: list[DispatchFailure] = []
    async with trio.open_nursery() as nursery:
        async with open_hall() as hall:
            peer = hall.peer()
            await peer.register()
            registry = hall.registry

            async def dispatch() -> None:
                with pytest.raises(DispatchError) as caught:
                    await registry.dispatch(REQUEST)
                failures.append(caught.value.failure)

            nursery.start_soon(dispatch)
            await peer.hear("availability_request")
        assert peer.closed == [(1001, "registry closing")]
        with pytest.raises(DispatchError, match="Registry Closing"):
            await registry.dispatch(REQUEST)
        late = Hall(registry, nursery).peer()
        await wait_all_tasks_blocked()
        assert late.closed == [(1001, "registry closing")]
    assert failures == [DispatchFailure.CLOSING]


async def test_one_that_reads_slowly_is_not_kept_once_it_is_to_go(
    autojump_clock: MockClock,
) -> None:
    """What is queued for it has one deadline together, not one for each frame."""
    async with open_hall() as hall:
        slow = hall.peer(reads=0)
        await slow.say("register", agent_name="a", version="1.0.0")
        await slow.hear("register")
        for n in range(300):
            await slow.say("ping", timestamp=n)
        start = trio.current_time()
        while hall.registry.workers():
            await trio.sleep(9.0)
            with suppress(trio.EndOfChannel, trio.WouldBlock):
                slow.from_registry.receive_nowait()
        assert trio.current_time() - start < 30.0


async def test_a_worker_that_is_to_go_is_offered_nothing(autojump_clock: MockClock) -> None:
    async with open_hall() as hall, trio.open_nursery() as nursery:
        deaf, good = hall.peer(reads=0), hall.peer()
        await deaf.say("register", agent_name="a", version="1.0.0")
        await deaf.hear("register")
        for n in range(300):
            await deaf.say("ping", timestamp=n)
        await wait_all_tasks_blocked()
        await good.register()
        start = trio.current_time()
        nursery.start_soon(hall.registry.dispatch, REQUEST)
        await good.accept()
        assert trio.current_time() == start


async def test_a_worker_that_did_not_answer_is_asked_last(autojump_clock: MockClock) -> None:
    """A process that was stopped keeps its link; each dispatch would wait for it in vain."""
    async with open_hall() as hall:
        stopped, good = hall.peer(), hall.peer()
        await stopped.register()
        await good.register()
        waits: list[float] = []

        async def take_all() -> None:
            while True:
                await good.accept()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(take_all)
            for _ in range(3):
                start = trio.current_time()
                await hall.registry.dispatch(REQUEST)
                waits.append(trio.current_time() - start)
            nursery.cancel_scope.cancel()
        assert waits == [pytest.approx(5.0), 0.0, 0.0]
        offer = await stopped.hear("availability_request")  # it goes on: it counts as before
        await stopped.say("availability_response", job_id=offer["job_id"], available=True)
        await wait_all_tasks_blocked()
        assert [worker.is_silent for worker in hall.registry.workers()] == [False, False]


async def test_what_a_worker_calls_itself_cannot_forge_a_line_of_the_log(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_hall() as hall:
        peer = hall.peer()
        await peer.say("\x1b[2J\nINFO all is well")
        await peer.register()
        await peer.say("\x1b[2J\nINFO all is well")
        await wait_all_tasks_blocked()
    assert len(caplog.messages) >= 2
    assert all(text.isprintable() for text in caplog.messages)


async def test_one_that_comes_back_to_more_than_its_queue_holds_is_lost_again(
    autojump_clock: MockClock,
) -> None:
    """What was decided for it in the same moment comes to nothing, and the jobs wait for it."""
    async with open_hall() as hall:
        peer = hall.peer()
        worker_id = await peer.register()
        for _ in range(300):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(hall.registry.dispatch, REQUEST)
                await peer.accept()
        again = hall.peer(reads=0)
        await again.say("register", worker_id=worker_id, agent_name="a", version="1.0.0")
        await trio.sleep(1.0)
        assert [worker.away for worker in hall.registry.workers()] == [True]
        assert {job.state for job in hall.registry.jobs()} == {LedgerState.ASSIGNED}
