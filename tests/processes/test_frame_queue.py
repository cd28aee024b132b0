"""Frames between two tasks: in order, none lost, and none waits for a task where one is handed."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from vsdk_trio.control.frames import Frame, Ping
from vsdk_trio.processes.frame_queue import MAX_WAITING_FRAMES, FrameQueue


def pings(*numbers: int) -> list[Frame]:
    return [Ping(seq=number) for number in numbers]


async def test_who_is_handed_frames_gets_those_that_wait_and_then_each_at_once() -> None:
    queue = FrameQueue()
    taken: list[Frame] = []

    def take(frame: Frame) -> bool:
        taken.append(frame)
        return frame == Ping(seq=4)

    await queue.put(Ping(seq=1))
    await queue.put(Ping(seq=2))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(queue.hand_to, take)
        await wait_all_tasks_blocked()
        assert taken == pings(1, 2)
        await queue.put(Ping(seq=3))
        assert taken == pings(1, 2, 3)
        # What comes after the last one that is wanted is for the next.
        await queue.put(Ping(seq=4))
        await queue.put(Ping(seq=5))
    assert taken == pings(1, 2, 3, 4)
    queue.close()
    assert [frame async for frame in queue] == pings(5)


async def test_who_is_cancelled_has_lost_nothing(autojump_clock: MockClock) -> None:
    queue = FrameQueue()
    taken: list[Frame] = []
    with trio.move_on_after(1):
        await queue.hand_to(lambda frame: bool(taken.append(frame)))
    await queue.put(Ping(seq=1))
    queue.close()
    await queue.hand_to(lambda frame: bool(taken.append(frame)))
    assert taken == pings(1)


async def test_what_the_handler_raises_is_no_business_of_the_producer() -> None:
    queue = FrameQueue()
    await queue.put(Ping(seq=1))
    await queue.put(Ping(seq=2))

    def broken(frame: Frame) -> bool:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        await queue.hand_to(broken)
    assert await anext(aiter(queue)) == Ping(seq=2)

    async def follow() -> None:
        with pytest.raises(ValueError, match="a bug"):
            await queue.hand_to(broken)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        await wait_all_tasks_blocked()
        await queue.put(Ping(seq=3))
        await queue.put(Ping(seq=4))
    queue.close()
    assert [frame async for frame in queue] == pings(4)


async def test_a_handler_makes_room_for_a_producer_that_waits() -> None:
    queue = FrameQueue()
    taken: list[Frame] = []
    numbers = range(MAX_WAITING_FRAMES + 10)

    async def produce() -> None:
        for number in numbers:
            await queue.put(Ping(seq=number))
        queue.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(produce)
        await wait_all_tasks_blocked()
        await queue.hand_to(lambda frame: bool(taken.append(frame)))
    assert taken == pings(*numbers)
