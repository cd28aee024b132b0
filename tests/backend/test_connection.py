# ruff: noqa: SIM117 - the registry outlives the connection, and looks like it
"""The connection against the fake registry, on a simulated network and a mock clock."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
import trio
import trio.testing

from vsdk_trio._service import open_service
from vsdk_trio.backend import (
    AvailabilityRequest,
    AvailabilityResponse,
    BackendConnection,
    JobAssignment,
    JobTermination,
    JobUpdate,
    Registered,
    SessionLost,
    TokenProvider,
    WorkerMessage,
    WorkerPong,
    open_backend_connection,
)
from vsdk_trio.errors import (
    NotConnectedError,
    OptionsError,
    RegistrationRefusedError,
    RegistryUnreachableError,
    TokenError,
    WireError,
)
from vsdk_trio.testing import Rejection, open_fake_registry


def connection_to(registry, **options) -> BackendConnection:
    options.setdefault("auth_token", "secret-token")
    options.setdefault("agent_id", "agent")
    options.setdefault("backend_url", "ws://registry.test")
    options.setdefault("rng", random.Random(1))
    return BackendConnection(dialer=registry.dialer, **options)


def update(job_id: str, status: str = "completed") -> JobUpdate:
    return JobUpdate(job_id=job_id, status=status)


async def jobs_seen(session, *job_ids: str) -> None:
    for job_id in job_ids:
        await session.expect("job_update", job_id=job_id)


async def test_register_says_all_and_the_goodbye_is_in_order(autojump_clock):
    async with open_fake_registry() as registry:
        connection = connection_to(registry, version="2.0", load_threshold=0.5, max_processes=3)
        assert (connection.worker_id, connection.is_connected) == ("unregistered", False)
        async with connection as same:
            assert same is connection
            assert (connection.worker_id, connection.is_connected) == ("worker-1", True)
            assert connection.epoch == 1
            session = await registry.next_session()
            assert session.path == "/agent"
            assert session.headers["authorization"] == "Bearer secret-token"
            assert await session.expect("register") == {
                "type": "register",
                "worker_id": "",
                "agent_name": "agent",
                "namespace": "default",
                "version": "2.0",
                "capabilities": ["room", "voice", "stt", "tts"],
                "registry_uuid": "default",
                "token": "secret-token",
                "load_threshold": 0.5,
                "max_processes": 3,
            }
        assert not connection.is_connected
        assert await session.wait_closed() == 1000
        assert session.received[-1][1] == {
            "type": "status_update",
            "worker_id": "worker-1",
            "agent_name": "agent",
            "status": "offline",
            "load": 0.0,
            "job_count": 0,
        }
        assert "secret-token" not in repr(connection)


async def test_events_come_in_order_and_junk_is_ignored(autojump_clock, caplog):
    async with open_fake_registry() as registry:
        async with connection_to(registry) as connection:
            session = await registry.next_session()
            for message in (
                {"type": "availability_request", "job_id": "j", "new_field": 1},
                "junk",
                "[]",
                b"\xff",
                {"type": "dance"},
                {"type": "dance"},
                {"type": "job_assignment", "job_id": "j", "room_options": "text"},
                {"type": "job_assignment", "job_id": "j", "timeout": 3},
                {"type": "job_termination", "job_id": "j", "reason": "r"},
                {"type": "register", "success": True, "worker_id": "other"},
                {"type": "pong", "timestamp": 4},
            ):
                await session.send(message)
            events = connection.__aiter__()
            assert await events.__anext__() == Registered("worker-1", {})
            assert await events.__anext__() == AvailabilityRequest(job_id="j")
            assert await events.__anext__() == JobAssignment(job_id="j", timeout=3)
            assert await events.__anext__() == JobTermination(job_id="j", reason="r")
            assert await events.__anext__() == WorkerPong(timestamp=4)
            assert connection.ignored["unknown: dance"] == 2
            assert connection.ignored["malformed"] == 4
            assert connection.worker_id == "worker-1"
        with pytest.raises(StopAsyncIteration):
            await events.__anext__()
    logged = [record.message for record in caplog.records if "ignored a frame" in record.message]
    assert len(logged) == len(connection.ignored)
    assert "secret-token" not in caplog.text


async def test_what_was_posted_before_the_session_ends_leaves_first(autojump_clock):
    for _ in range(20):  # trio shuffles its scheduler
        async with open_fake_registry() as registry:
            async with connection_to(registry) as connection:
                for n in range(5):
                    connection.post(update(f"job-{n}"))
            session = await registry.next_session()
            assert session.types == ["register", *["job_update"] * 5, "ping", "status_update"]
            assert await session.wait_closed() == 1000
            assert connection.undelivered == 0


async def test_a_flush_waits_for_the_proof(autojump_clock):
    proven = []
    async with open_fake_registry(answer_pings=False) as registry:
        async with connection_to(registry, on_acknowledged=proven.append) as connection:
            session = await registry.next_session()
            connection.post(update("a"))
            ping = await session.expect("ping")
            connection.post(update("b"))  # coalesced: no second ping while one is out
            await session.expect("job_update", job_id="b")
            await trio.sleep(1)
            assert len(session.of_type("ping")) == 1
            assert proven == []
            await session.send({"type": "pong", "timestamp": ping["timestamp"]})
            second = await session.expect("ping")
            assert second["timestamp"] > ping["timestamp"]
            assert proven == [update("a")]
            await session.send({"type": "pong", "timestamp": second["timestamp"]})
            async for event in connection:
                if event == WorkerPong(timestamp=second["timestamp"]):
                    break
            assert proven == [update("a"), update("b")]
            started = trio.current_time()
        assert trio.current_time() == started


async def test_a_flush_without_json_pongs_is_proven_by_a_websocket_pong(autojump_clock):
    proven = []
    async with open_fake_registry(answer_pings=False) as registry:
        async with connection_to(registry, on_acknowledged=proven.append) as connection:
            connection.post(update("a"))
            started = trio.current_time()
        assert trio.current_time() - started == 1
        assert proven == [update("a")]


async def test_heartbeats_prove_where_json_pings_are_not_answered(autojump_clock):
    proven = []
    async with (
        open_fake_registry(answer_pings=False) as registry,
        connection_to(
            registry, on_acknowledged=lambda m: proven.append((trio.current_time(), m.job_id))
        ) as connection,
    ):
        session = await registry.next_session()
        started = trio.current_time()
        connection.post(update("a"))
        await trio.sleep(40)
        assert [(time - started, job) for time, job in proven] == [(30, "a")]
        assert len(session.of_type("ping")) == 3


async def test_a_flush_has_an_end(autojump_clock, caplog):
    async with open_fake_registry() as registry:
        async with connection_to(registry, flush_timeout=3) as connection:
            connection.post(update("a"))
            await trio.testing.wait_all_tasks_blocked()
            registry.is_deaf = True
            connection.post(update("b"))
            started = trio.current_time()
        assert trio.current_time() - started <= connection.grace_seconds
        assert "undelivered" in caplog.text


async def test_a_half_open_peer_is_found_by_the_heartbeat(autojump_clock):
    async with open_fake_registry() as registry:
        async with connection_to(registry, heartbeat_interval=5) as connection:
            await registry.next_session()
            registry.is_deaf = True
            started = trio.current_time()
            async for event in connection:
                if isinstance(event, SessionLost):
                    break
            assert trio.current_time() - started == 10
            assert event == SessionLost("no pong within 5 s")
            assert not connection.is_connected
            with pytest.raises(NotConnectedError):
                await connection.send_message(WorkerMessage(type="status_update"))
            registry.is_deaf = False
            session = await registry.next_session()
            assert (await session.expect("register"))["worker_id"] == "worker-1"


async def test_reconnecting_keeps_the_id_and_sends_again_in_order(autojump_clock):
    async with open_fake_registry(answer_pings=False) as registry:
        announced = [update("live", "running")]
        async with connection_to(registry, announce=lambda: announced) as connection:
            first = await registry.next_session()
            for job_id in ("a", "b"):
                connection.post(update(job_id))
            connection.post(WorkerMessage(type="status_update", status="available"))
            await jobs_seen(first, "a", "b")
            await first.expect("status_update")
            await first.drop()
            second_epoch = connection.epoch + 1
            assert not connection.post(
                AvailabilityResponse(job_id="old", available=True), epoch=second_epoch + 1
            )
            connection.post(update("c"))
            second = await registry.next_session()
            await second.expect("status_update")
            assert second.of_type("register")[0]["worker_id"] == "worker-1"
            assert [frame["job_id"] for frame in second.of_type("job_update")] == [
                "live",
                "a",
                "b",
                "c",
            ]
            assert connection.epoch == second_epoch


async def test_no_hot_loop_where_the_registry_accepts_and_closes(autojump_clock):
    async with open_fake_registry() as registry:

        async def close_each() -> None:
            while True:
                session = await registry.next_session()
                await session.expect("register")
                await session.close(1000)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(close_each)
            with pytest.raises(RegistryUnreachableError):
                async with connection_to(registry):
                    await trio.sleep_forever()
            nursery.cancel_scope.cancel()
        assert len(registry.dialer.dialed) >= 17
        assert trio.current_time() >= 130  # not sooner than the reference's schedule ends


async def test_retries_end_and_say_why(autojump_clock):
    async with open_fake_registry() as registry:
        registry.dialer.is_up = False
        with pytest.raises(RegistryUnreachableError, match="network is down") as caught:
            async with connection_to(registry, max_retry=3):
                pytest.fail("not reached")
        assert isinstance(caught.value.__cause__, OSError)
        assert len(registry.dialer.dialed) >= 4
        assert trio.current_time() >= 6  # as long as the reference's schedule of three retries


async def test_it_does_not_give_up_while_told_not_to(autojump_clock):
    may_give_up = False
    async with open_fake_registry() as registry:
        connection = connection_to(registry, max_retry=1, give_up=lambda error: may_give_up)
        async with connection:
            session = await registry.next_session()
            connection.post(update("a"))
            registry.dialer.is_up = False
            await session.drop()
            await trio.sleep(1000)
            times = [time for time, _, _ in registry.dialer.dialed]
            pauses = [b - a for a, b in pairwise(times[3:])]
            assert len(pauses) > 50
            assert all(5 <= pause <= 10 for pause in pauses)
            registry.dialer.is_up = True
            await (await registry.next_session()).expect("job_update", job_id="a")
            may_give_up = True


async def test_a_retry_after_is_honoured(autojump_clock):
    async with open_fake_registry() as registry:
        registry.rejections.append(Rejection(status=503, headers=(("Retry-After", "30"),)))
        async with connection_to(registry):
            assert trio.current_time() == 30


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refusal_is_final(autojump_clock, status):
    async with open_fake_registry() as registry:
        registry.rejections.append(Rejection(status=status, body=b"no secret-token"))
        with pytest.raises(RegistrationRefusedError, match=rf"{status}: no \*\*\*"):
            async with connection_to(registry):
                pytest.fail("not reached")
        assert len(registry.dialer.dialed) == 1
        assert trio.current_time() == 0


async def test_success_false_is_a_refusal_without_the_token_in_it(autojump_clock):
    async with open_fake_registry(auto_register=False) as registry:

        async def refuse() -> None:
            session = await registry.next_session()
            await session.expect("register")
            await session.register(success=False, message="bad token secret-token")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(refuse)
            with pytest.raises(RegistrationRefusedError, match="bad token") as caught:
                async with connection_to(registry):
                    pytest.fail("not reached")
        assert "secret-token" not in str(caught.value)


async def test_a_refused_token_is_renewed_once(autojump_clock):
    minted = iter(["first", "second", "third"])
    async with open_fake_registry() as registry:
        registry.rejections.append(Rejection(status=401))
        async with connection_to(registry, auth_token=TokenProvider(lambda: next(minted))):
            session = await registry.next_session()
            assert session.headers["authorization"] == "Bearer second"
            assert trio.current_time() == 0
        registry.rejections.extend([Rejection(status=401)] * 2)
        tokens = iter(["first", "second", "third"])
        with pytest.raises(RegistrationRefusedError):
            async with connection_to(registry, auth_token=TokenProvider(lambda: next(tokens))):
                pytest.fail("not reached")
        assert next(tokens) == "third"


async def test_no_token_is_said_at_once(autojump_clock):
    async with open_fake_registry() as registry:
        with pytest.raises(TokenError, match="VIDEOSDK_AUTH_TOKEN"):
            async with connection_to(registry, auth_token=TokenProvider(environ={})):
                pytest.fail("not reached")
        assert registry.dialer.dialed == []


async def test_a_token_that_fails_later_is_one_failed_attempt(autojump_clock):
    made = iter(["first", "with space", "second"])
    async with open_fake_registry() as registry:
        async with connection_to(registry, auth_token=TokenProvider(lambda: next(made))):
            await (await registry.next_session()).drop()
            session = await registry.next_session()
            assert session.headers["authorization"] == "Bearer second"


async def test_an_answer_that_does_not_come_ends_the_attempt(autojump_clock):
    async with open_fake_registry(auto_register=False) as registry:
        with pytest.raises(RegistryUnreachableError, match="within 7 s"):
            async with connection_to(registry, registration_timeout=7, max_retry=0):
                pytest.fail("not reached")
        assert trio.current_time() == 7


async def test_a_late_registration_counts_and_what_comes_early_does_not(autojump_clock):
    async with open_fake_registry(auto_register=False) as registry:

        async def late() -> None:
            session = await registry.next_session()
            await session.expect("register")
            await session.send({"type": "job_assignment", "job_id": "early"})
            await trio.sleep(9)
            await session.register(payload={"a": 1})

        async with trio.open_nursery() as nursery:
            nursery.start_soon(late)
            async with connection_to(registry) as connection:
                assert trio.current_time() == 9
                assert connection.ignored == {"early: job_assignment": 1}
                async for event in connection:
                    assert event == Registered("worker-1", {"a": 1})
                    break


async def test_a_close_before_the_answer_is_a_failure(autojump_clock):
    async with open_fake_registry(auto_register=False) as registry:

        async def close() -> None:
            session = await registry.next_session()
            await session.close(1013, "try again later, secret-token")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(close)
            with pytest.raises(RegistryUnreachableError, match=r"1013: try again later, \*\*\*"):
                async with connection_to(registry, max_retry=0):
                    pytest.fail("not reached")


async def test_leaving_while_away_reconnects_to_deliver(autojump_clock):
    async with open_fake_registry() as registry:
        async with connection_to(registry, flush_timeout=30) as connection:
            first = await registry.next_session()
            registry.dialer.is_up = False
            await first.drop()
            await trio.sleep(2)
            connection.post(update("a"))
            registry.dialer.is_up = True
        second = await registry.next_session()
        assert second.types == ["register", "job_update", "ping", "status_update"]
        assert await second.wait_closed() == 1000


async def test_leaving_while_away_with_nothing_to_say_is_quick(autojump_clock):
    async with open_fake_registry() as registry:
        async with connection_to(registry, flush_timeout=30) as connection:
            registry.dialer.is_up = False
            await (await registry.next_session()).drop()
            await trio.sleep(60)
            assert not connection.is_connected
            started = trio.current_time()
        assert trio.current_time() - started < 1


async def test_cancelled_it_still_says_goodbye(autojump_clock):
    async with open_fake_registry() as registry:
        connection = connection_to(registry)
        async with trio.open_nursery() as nursery:
            await nursery.start(connection.connect)
            session = await registry.next_session()
            await trio.sleep(1)
            nursery.cancel_scope.cancel()
        assert session.types == ["register", "status_update"]
        assert session.received[-1][1]["status"] == "offline"
        assert await session.wait_closed() == 1000


async def test_as_a_service_with_too_short_a_grace(autojump_clock):
    async with open_fake_registry(answer_pings=False) as registry:
        connection = connection_to(registry, flush_timeout=60)
        async with open_service(connection.run, grace=0.5):
            session = await registry.next_session()
            connection.post(update("a"))
        assert session.received[-1][1]["status"] == "offline"
        assert await session.wait_closed() == 1000


async def test_connect_and_disconnect(autojump_clock):
    async with open_fake_registry() as registry:
        connection = connection_to(registry)
        await connection.disconnect()  # before it ran: no effect but on the future
        connection = connection_to(registry)
        async with trio.open_nursery() as nursery:
            await nursery.start(connection.connect)
            connection.post(update("a"))
            await connection.disconnect()
            await connection.disconnect()
        session = await registry.next_session()
        assert session.types == ["register", "job_update", "ping", "status_update"]
        with pytest.raises(RuntimeError, match="used once"):
            await connection.connect()


async def test_the_block_s_own_error_comes_out_as_it_is(autojump_clock):
    async with open_fake_registry() as registry:
        with pytest.raises(KeyError, match="mine"):
            async with connection_to(registry):
                raise KeyError("mine")
        assert await registry.sessions[0].wait_closed() == 1000


async def test_a_proxy_that_is_none_is_said_when_it_is_built():
    with pytest.raises(OptionsError, match="a proxy is one of"):
        BackendConnection("t", http_proxy="ftp://proxy")


async def test_open_backend_connection(autojump_clock):
    async with (
        open_fake_registry() as registry,
        open_backend_connection(
            "t", "agent", backend_url="ws://r.test", dialer=registry.dialer
        ) as connection,
    ):
        assert connection.is_connected


async def test_wait_for_assignment(autojump_clock):
    async with open_fake_registry() as registry, connection_to(registry) as connection:
        session = await registry.next_session()
        await session.send({"type": "job_assignment", "job_id": "early"})
        await trio.sleep(1)
        for timeout in (7.5, 0):
            assert (await connection.wait_for_assignment("early", timeout)).job_id == "early"
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                assert (await connection.wait_for_assignment("late")).job_id == "late"

            nursery.start_soon(wait)
            nursery.start_soon(wait)
            await trio.sleep(7)
            await session.send({"type": "job_assignment", "job_id": "late"})
        started = trio.current_time()
        with pytest.raises(TimeoutError, match=r"never within 7\.5 s"):
            await connection.wait_for_assignment("never")
        assert trio.current_time() - started == 7.5


async def test_callbacks_sync_and_async(autojump_clock):
    seen = []

    async def slow(request):
        await trio.sleep(1)
        seen.append(request)

    async with open_fake_registry() as registry:
        connection = connection_to(registry)
        connection.on_register(lambda worker_id, payload: seen.append((worker_id, payload)))
        connection.on_availability(slow)
        connection.on_assignment(seen.append)
        connection.on_termination(seen.append)
        connection.on_pong(seen.append)
        with pytest.raises(RuntimeError, match="cannot be iterated"):
            connection.__aiter__()
        async with connection:
            session = await registry.next_session()
            await session.send({"type": "availability_request", "job_id": "j"})
            await session.send({"type": "job_assignment", "job_id": "j"})
            await session.send({"type": "job_termination", "job_id": "j"})
            await session.send({"type": "pong", "timestamp": 1})
            await trio.sleep(5)
        assert seen[1:] == [
            AvailabilityRequest(job_id="j"),
            JobAssignment(job_id="j"),
            JobTermination(job_id="j"),
            WorkerPong(timestamp=1),
        ]
        assert seen[0] == ("worker-1", {})


async def test_a_callback_s_error_is_seen(autojump_clock):
    async with open_fake_registry() as registry:
        connection = connection_to(registry)

        def broken(request):
            raise KeyError("in the callback")

        connection.on_availability(broken)

        async def offer() -> None:
            session = await registry.next_session()
            await trio.sleep(1)
            await session.send({"type": "availability_request", "job_id": "j"})

        async with trio.open_nursery() as nursery:
            nursery.start_soon(offer)
            with pytest.raises(KeyError, match="in the callback"):
                await connection.connect()
        [session] = registry.sessions
        assert await session.wait_closed() == 1000
        assert session.received[-1][1]["status"] == "offline"


async def test_disconnect_from_a_callback(autojump_clock):
    async with open_fake_registry() as registry:
        connection = connection_to(registry)

        async def leave(request):
            await connection.disconnect()

        connection.on_termination(leave)
        async with trio.open_nursery() as nursery:
            await nursery.start(connection.connect)
            session = await registry.next_session()
            await session.send({"type": "job_termination", "job_id": "j"})
        assert await session.wait_closed() == 1000


async def test_iterating_excludes_callbacks(autojump_clock):
    async with open_fake_registry() as registry:
        connection = connection_to(registry)
        connection.__aiter__()
        with pytest.raises(RuntimeError, match="cannot have callbacks"):
            connection.on_pong(print)


async def test_nobody_reads_and_the_link_lives_on(autojump_clock):
    async with open_fake_registry() as registry, connection_to(registry) as connection:
        session = await registry.next_session()
        for n in range(2000):
            await session.send({"type": "job_termination", "job_id": str(n)})
        await trio.sleep(100)
        assert connection.is_connected
        assert connection.ignored["unread"] > 900


async def test_what_cannot_be_sent_is_the_caller_s_error(autojump_clock):
    async with open_fake_registry() as registry, connection_to(registry) as connection:
        with pytest.raises(WireError):
            connection.post(JobUpdate(job_id="j", error="x" * (1 << 20)))
        assert connection.undelivered == 0


async def test_kinds_of_junk_are_bounded(autojump_clock):
    async with open_fake_registry() as registry, connection_to(registry) as connection:
        session = await registry.next_session()
        for n in range(300):
            await session.send({"type": f"type-{n}"})
        await trio.sleep(1)
        assert sum(connection.ignored.values()) == 300
        assert len(connection.ignored) == 101


async def test_the_registry_sees_no_1006_when_cut_everywhere(autojump_clock):
    """Cancel at every moment of the first seconds: whoever registered says goodbye."""
    registered = 0
    for step in range(80):
        async with open_fake_registry() as registry:
            connection = connection_to(registry)
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(connection.connect)
                    for _ in range(step):
                        await trio.lowlevel.checkpoint()
                    epoch = connection.epoch
                    scope.cancel()
            await trio.testing.wait_all_tasks_blocked()
            if epoch:
                registered += 1
                [session] = registry.sessions
                assert session.types == ["register", "status_update"]
                assert await session.wait_closed() == 1000
    assert 10 < registered < 80
