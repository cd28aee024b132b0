"""The transport broken at every operation: no outcome is lost, none comes out of order."""

from __future__ import annotations

import random

import pytest
import trio
import trio.abc

from vsdk_trio.backend import BackendConnection, JobUpdate
from vsdk_trio.testing import FakeRegistry, open_fake_registry

JOBS = [f"job-{n}" for n in range(4)]


class _Cutting(trio.abc.Stream):
    """Breaks for good at the n-th operation of its first connection."""

    def __init__(self, stream: trio.abc.Stream, countdown: list[int]) -> None:
        self._stream = stream
        self._countdown = countdown

    async def _count(self) -> None:
        self._countdown[0] -= 1
        if self._countdown[0] == 0:
            await trio.aclose_forcefully(self._stream)
            raise trio.BrokenResourceError("cut")

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._count()
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        await self._count()
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._stream.aclose()


class _CuttingDialer:
    def __init__(self, registry: FakeRegistry, cut_at: int) -> None:
        self._registry = registry
        self._countdown = [cut_at]

    @property
    def is_cut(self) -> bool:
        return self._countdown[0] <= 0

    async def dial(self, host: str, port: int) -> trio.abc.Stream:
        return _Cutting(await self._registry.dialer.dial(host, port), self._countdown)


@pytest.mark.parametrize("answer_pings", [True, False])
@pytest.mark.parametrize("cut_at", range(1, 30))
async def test_cut_at_every_operation(autojump_clock, cut_at, answer_pings):
    proven = []
    async with open_fake_registry(answer_pings=answer_pings) as registry:
        connection = BackendConnection(
            "t",
            "agent",
            backend_url="ws://r.test",
            dialer=_CuttingDialer(registry, cut_at),
            rng=random.Random(cut_at),
            on_acknowledged=lambda message: proven.append(message.job_id),
            flush_timeout=60,
        )
        async with connection:
            for job_id in JOBS:
                connection.post(JobUpdate(job_id=job_id, status="completed"))
                await trio.sleep(0.01)
    seen = [f["job_id"] for s in registry.sessions for f in s.of_type("job_update")]
    # Some maybe twice, none never, each session in order.
    assert set(seen) == set(JOBS)
    for session in registry.sessions:
        ids = [frame["job_id"] for frame in session.of_type("job_update")]
        assert ids == sorted(ids)
    assert proven == JOBS
    assert connection.undelivered == 0


async def test_the_last_session_ends_with_offline_whatever_was_cut(autojump_clock):
    for cut_at in range(1, 100):
        async with open_fake_registry() as registry:
            dialer = _CuttingDialer(registry, cut_at)
            async with BackendConnection(
                "t",
                "agent",
                backend_url="ws://r.test",
                dialer=dialer,
                rng=random.Random(cut_at),
            ) as connection:
                await trio.sleep(40)
                assert connection.is_connected
                if not dialer.is_cut:
                    return  # from here on it is the goodbye itself that is cut
        last = registry.sessions[-1]
        assert last.received[-1][1]["status"] == "offline"
        assert await last.wait_closed() == 1000
