from __future__ import annotations

import pytest
import trio
import trio.testing

from vsdk_trio.control.channel import ControlChannel
from vsdk_trio.control.frames import (
    MAX_FRAME_BYTES,
    Ping,
    Pong,
    Running,
    Start,
    Stop,
    UnknownFrame,
    encode_frame,
)
from vsdk_trio.errors import FrameError


def _pair() -> tuple[ControlChannel, ControlChannel]:
    left, right = trio.testing.memory_stream_pair()
    return ControlChannel(left, left), ControlChannel(right, right)


async def test_frames_arrive_in_order_both_ways() -> None:
    worker, runner = _pair()
    await worker.send(Ping(seq=1))
    await worker.send(Stop(reason="enough"))
    await runner.send(Pong(seq=1))
    assert await anext(runner) == Ping(seq=1)
    assert await anext(runner) == Stop(reason="enough")
    assert await anext(worker) == Pong(seq=1)


async def test_the_iteration_ends_at_eof_and_stays_ended() -> None:
    left, right = trio.testing.memory_stream_pair()
    channel = ControlChannel(right, right)
    await left.send_all(encode_frame(Running()) + b'{"type":"stop"}')
    await left.send_eof()
    assert [frame async for frame in channel] == [Running(), Stop()]
    assert [frame async for frame in channel] == []


async def test_the_iteration_ends_when_this_end_is_closed() -> None:
    left, right = trio.testing.memory_stream_pair()
    await right.aclose()
    assert [frame async for frame in ControlChannel(right, right)] == []
    await left.aclose()


async def test_what_was_read_before_comes_first() -> None:
    left, right = trio.testing.memory_stream_pair()
    channel = ControlChannel(right, right, already_read=b'{"type":"running"}\n{"type":')
    await left.send_all(b'"stop"}\n')
    await left.send_eof()
    assert [frame async for frame in channel] == [Running(), Stop()]


async def test_junk_is_counted_and_reported_and_costs_nothing() -> None:
    left, right = trio.testing.memory_stream_pair()
    reasons: list[str] = []
    channel = ControlChannel(right, right, on_junk=reasons.append)
    async with trio.open_nursery() as nursery:

        async def send() -> None:
            await left.send_all(b"Welcome to host\n\n" + b"x" * (MAX_FRAME_BYTES + 1) + b"\n")
            await left.send_all(b'{"type":"newer"}\n' + encode_frame(Running()))
            await left.send_eof()

        nursery.start_soon(send)
        frames = [frame async for frame in channel]
    assert frames == [UnknownFrame(type="newer"), Running()]
    assert channel.junk_lines == 2  # an empty line is none
    assert reasons == [
        "not a line of JSON",
        f"a line of more than {MAX_FRAME_BYTES} bytes",
    ]


async def test_without_a_listener_junk_is_only_counted() -> None:
    left, right = trio.testing.memory_stream_pair()
    channel = ControlChannel(right, right)
    await left.send_all(b"junk\n")
    await left.send_eof()
    assert [frame async for frame in channel] == []
    assert channel.junk_lines == 1


async def test_a_frame_that_cannot_be_encoded_leaves_the_channel_alive() -> None:
    worker, runner = _pair()
    with pytest.raises(FrameError):
        await worker.send(Start(job={"bad": object()}))
    await worker.send(Stop())
    assert await anext(runner) == Stop()


async def test_two_tasks_may_send_at_once() -> None:
    worker, runner = _pair()
    async with trio.open_nursery() as nursery:
        for seq in range(20):
            nursery.start_soon(worker.send, Ping(seq=seq))
        seen = {(await anext(runner)).seq for _ in range(20)}  # type: ignore[union-attr]
    assert seen == set(range(20))


async def test_a_send_cancelled_half_way_closes_the_sending_direction(
    autojump_clock: trio.testing.MockClock,
) -> None:
    send, receive = trio.testing.lockstep_stream_one_way_pair()
    _, unused = trio.testing.memory_stream_one_way_pair()
    channel = ControlChannel(send, unused)
    with trio.move_on_after(1) as scope:
        await channel.send(Stop())
    assert scope.cancelled_caught
    with pytest.raises(trio.ClosedResourceError):
        await channel.send(Stop())
    assert await receive.receive_some() == encode_frame(Stop())
    assert await receive.receive_some() == b""


async def test_a_send_cancelled_while_it_waits_its_turn_sends_nothing() -> None:
    send, receive = trio.testing.lockstep_stream_one_way_pair()
    _, unused = trio.testing.memory_stream_one_way_pair()
    channel = ControlChannel(send, unused)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(channel.send, Ping(seq=1))
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(0):
            await channel.send(Ping(seq=2))
        first = await receive.receive_some(1)
        nursery.start_soon(channel.send, Ping(seq=3))
        rest = b""
        while rest.count(b"\n") < 2:
            rest += await receive.receive_some()
    assert bytes(first) + rest == encode_frame(Ping(seq=1)) + encode_frame(Ping(seq=3))


async def test_a_cancelled_read_has_taken_nothing() -> None:
    left, right = trio.testing.memory_stream_pair()
    channel = ControlChannel(right, right)
    await left.send_all(encode_frame(Ping(seq=1)) + encode_frame(Ping(seq=2)))
    assert await anext(channel) == Ping(seq=1)
    for _ in range(2):
        with trio.CancelScope() as scope:
            scope.cancel()
            await anext(channel)
        assert scope.cancelled_caught
    assert await anext(channel) == Ping(seq=2)


async def test_what_is_no_pipe_is_not_written_at_once() -> None:
    worker, runner = _pair()
    assert not worker.send_now(Ping(seq=1))
    await worker.send(Ping(seq=2))
    assert await anext(runner) == Ping(seq=2)
