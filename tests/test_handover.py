"""`Handover`: values from another thread, in order, bounded and counted."""

from __future__ import annotations

import threading

import pytest
import trio

from vsdk_trio.asyncio_bridge.thread_channel import Handover

pytestmark = pytest.mark.real


async def test_values_arrive_in_order() -> None:
    handover: Handover[int] = Handover(100)
    writer = threading.Thread(target=lambda: [handover.put(number) for number in range(50)])
    writer.start()
    assert [await handover.receive.receive() for _ in range(50)] == list(range(50))
    writer.join()
    assert handover.dropped == 0


async def test_a_flood_is_dropped_and_counted() -> None:
    handover: Handover[int] = Handover(10)

    def flood() -> None:
        for number in range(100_000):
            handover.put(number)

    await trio.to_thread.run_sync(flood)
    await trio.testing.wait_all_tasks_blocked()
    handover.close()
    got = [value async for value in handover.receive]
    assert len(got) + handover.dropped == 100_000
    assert 10 <= len(got) <= 20
    assert got == sorted(got)
    dropped = handover.dropped
    assert (handover.take_dropped(), handover.take_dropped()) == (dropped, 0)


async def test_a_reader_that_is_gone_costs_nothing() -> None:
    handover: Handover[int] = Handover(10)
    handover.receive.close()
    await trio.to_thread.run_sync(handover.put, 1)
    await trio.testing.wait_all_tasks_blocked()
    assert handover.dropped == 1


async def test_closing_ends_the_reader_after_what_was_put() -> None:
    handover: Handover[int] = Handover(10)
    await trio.to_thread.run_sync(handover.put, 1)
    handover.close()
    assert [value async for value in handover.receive] == [1]
    await trio.to_thread.run_sync(handover.put, 2)
    await trio.testing.wait_all_tasks_blocked()
    assert handover.dropped == 1


def test_after_the_run_values_are_dropped_in_silence() -> None:
    made: list[Handover[int]] = []

    async def main() -> None:
        made.append(Handover(1))

    trio.run(main)
    made[0].put(1)
