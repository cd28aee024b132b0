"""`ThreadChannel`: values from another thread, in order, bounded and counted."""

from __future__ import annotations

import threading

import pytest
import trio

from vsdk_trio.asyncio_bridge.thread_channel import ThreadChannel

pytestmark = pytest.mark.real


async def test_values_arrive_in_order() -> None:
    channel: ThreadChannel[int] = ThreadChannel(100)
    writer = threading.Thread(target=lambda: [channel.put(number) for number in range(50)])
    writer.start()
    assert [await channel.receive.receive() for _ in range(50)] == list(range(50))
    writer.join()
    assert channel.dropped == 0


async def test_a_flood_is_dropped_and_counted() -> None:
    channel: ThreadChannel[int] = ThreadChannel(10)

    def flood() -> None:
        for number in range(100_000):
            channel.put(number)

    await trio.to_thread.run_sync(flood)
    await trio.testing.wait_all_tasks_blocked()
    channel.close()
    got = [value async for value in channel.receive]
    assert len(got) + channel.dropped == 100_000
    assert 10 <= len(got) <= 20
    assert got == sorted(got)
    dropped = channel.dropped
    assert (channel.take_dropped(), channel.take_dropped()) == (dropped, 0)


async def test_a_reader_that_is_gone_costs_nothing() -> None:
    channel: ThreadChannel[int] = ThreadChannel(10)
    channel.receive.close()
    await trio.to_thread.run_sync(channel.put, 1)
    await trio.testing.wait_all_tasks_blocked()
    assert channel.dropped == 1


async def test_closing_ends_the_reader_after_what_was_put() -> None:
    channel: ThreadChannel[int] = ThreadChannel(10)
    await trio.to_thread.run_sync(channel.put, 1)
    channel.close()
    assert [value async for value in channel.receive] == [1]
    await trio.to_thread.run_sync(channel.put, 2)
    await trio.testing.wait_all_tasks_blocked()
    assert channel.dropped == 1


def test_after_the_run_values_are_dropped_in_silence() -> None:
    made: list[ThreadChannel[int]] = []

    async def main() -> None:
        made.append(ThreadChannel(1))

    trio.run(main)
    made[0].put(1)
