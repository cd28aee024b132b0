# ruff: noqa: SIM117 - the registry outlives the connection, and looks like it
"""The connection where its user, its callbacks or its options misbehave."""

from __future__ import annotations

import random

import pytest
import trio
import trio.testing

from vsdk_trio.backend import (
    BackendConnection,
    JobUpdate,
    Registered,
    SessionLost,
    TokenProvider,
    WorkerMessage,
)
from vsdk_trio.errors import (
    OptionsError,
    RegistryUnreachableError,
)
from vsdk_trio.testing import open_fake_registry


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


async def test_callbacks_may_be_set_while_it_runs(autojump_clock):
    seen = []
    async with open_fake_registry() as registry:
        async with connection_to(registry) as connection:
            connection.on_register(lambda worker_id, payload: seen.append(worker_id))
            connection.on_availability(lambda request: seen.append(request.job_id))
            session = await registry.next_session()
            await session.send({"type": "availability_request", "job_id": "j"})
            await trio.sleep(1)
            assert seen == ["worker-1", "j"]


async def test_a_callback_that_never_ends_does_not_keep_the_connection(autojump_clock, caplog):
    async with open_fake_registry() as registry:
        connection = connection_to(registry, flush_timeout=3)

        async def hang(termination):
            await trio.sleep_forever()

        connection.on_termination(hang)
        async with trio.open_nursery() as nursery:
            await nursery.start(connection.connect)
            session = await registry.next_session()
            await session.send({"type": "job_termination", "job_id": "j"})
            await trio.sleep(1)
            started = trio.current_time()
            await connection.disconnect()
            assert trio.current_time() == started
            nursery.cancel_scope.deadline = started + 100
        assert trio.current_time() - started == 3
        assert "cut off" in caplog.text


async def test_a_consumer_that_does_not_read_keeps_no_outcome_back(autojump_clock):
    async with open_fake_registry() as registry:
        async with connection_to(registry) as connection:
            events = aiter(connection)
            session = await registry.next_session()
            for n in range(1100):
                await session.send({"type": "job_termination", "job_id": str(n)})
            await trio.sleep(1)
            for _ in range(3):
                await session.expect("register")
                await trio.sleep(1)
                await session.drop()
                with trio.fail_after(60):
                    session = await registry.next_session()
            connection.post(update("a"))
            with trio.fail_after(1):
                await session.expect("job_update", job_id="a")
            seen = []
            with trio.move_on_after(1):
                async for event in events:
                    seen.append(event)
        sessions = [event for event in seen if isinstance(event, Registered | SessionLost)]
        assert [type(event) for event in sessions] == [Registered, *[SessionLost, Registered] * 3]


async def test_a_token_that_does_not_come_ends_the_attempt(autojump_clock):
    async def never() -> str:
        await trio.sleep_forever()
        raise AssertionError

    async with open_fake_registry() as registry:
        with trio.fail_after(100), pytest.raises(RegistryUnreachableError, match="token"):
            async with connection_to(
                registry, auth_token=TokenProvider(never), connect_timeout=7, max_retry=0
            ):
                pytest.fail("not reached")
        assert trio.current_time() == 7


async def test_disconnected_before_it_was_registered(autojump_clock):
    async with open_fake_registry() as registry:
        registry.dialer.is_silent = True
        connection = connection_to(registry)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.connect)
            await trio.sleep(1)
            await connection.disconnect()
        assert trio.current_time() == 1
        connection = connection_to(registry)
        await connection.disconnect()
        await connection.connect()
        assert trio.current_time() == 1


async def test_leaving_while_away_with_but_a_status_to_tell_is_quick(autojump_clock, caplog):
    async with open_fake_registry() as registry:
        async with connection_to(registry, flush_timeout=30) as connection:
            registry.dialer.is_silent = True
            await (await registry.next_session()).drop()
            await trio.sleep(5)
            connection.post(WorkerMessage(type="status_update", status="available"))
            started = trio.current_time()
        assert trio.current_time() == started
        assert "undelivered" not in caplog.text


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"backend_url": "ftp://r.example"}, "backend_url: ftp:// does not lead"),
        ({"backend_url": None, "signaling_base_url": "ws://a"}, "signaling_base_url: .*http"),
        ({"heartbeat_interval": 0}, "heartbeat_interval"),
    ],
)
def test_what_can_never_work_is_said_when_it_is_built(options, match):
    with pytest.raises(OptionsError, match=match):
        BackendConnection("t", **options)


async def test_the_log_is_written_by_us_alone(autojump_clock, caplog):
    async with open_fake_registry() as registry, connection_to(registry):
        session = await registry.next_session()
        await session.send({"type": "dance\nERROR all is lost\x1b[2J"})
        await session.send({"type": "dance\nERROR", "a": {"b\nc": 1 << 70}})
        await trio.sleep(1)
    logged = [r.getMessage() for r in caplog.records if "ignored a frame" in r.getMessage()]
    assert len(logged) == 2
    assert all(line.isprintable() for line in logged)
