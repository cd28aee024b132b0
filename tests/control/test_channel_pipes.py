"""Pipes that write and read at once: what they do that Trio's own do, and what they do sooner."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator

import pytest
import trio
import trio.testing

from vsdk_trio.control.channel import ControlChannel, read_some, write_what_fits
from vsdk_trio.control.frames import Ping, Running, Start, encode_frame

pytestmark = pytest.mark.real

Pipe = tuple[trio.lowlevel.FdStream, trio.lowlevel.FdStream]


@pytest.fixture
async def pipe() -> AsyncGenerator[Pipe]:
    """A reading and a writing end."""
    reader, writer = (trio.lowlevel.FdStream(fd) for fd in os.pipe())
    yield reader, writer
    await reader.aclose()
    await writer.aclose()


async def test_what_is_written_is_read(pipe: Pipe) -> None:
    reader, writer = pipe
    assert write_what_fits(writer, b"hello") == 5
    with trio.testing.assert_checkpoints():
        assert await read_some(reader, 100) == b"hello"


async def test_a_full_pipe_takes_what_fits_and_then_nothing(pipe: Pipe) -> None:
    _, writer = pipe
    assert 0 < write_what_fits(writer, bytes(1 << 20)) < 1 << 20
    assert write_what_fits(writer, b"more") == 0


async def test_a_pipe_without_a_reader_takes_nothing_and_the_stream_says_why(pipe: Pipe) -> None:
    reader, writer = pipe
    await reader.aclose()
    assert write_what_fits(writer, b"hello") == 0
    with pytest.raises(trio.BrokenResourceError):
        await ControlChannel(writer, reader).send(Running())
    await writer.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await ControlChannel(writer, reader).send(Running())


async def test_reading_waits_and_ends_at_eof(pipe: Pipe) -> None:
    reader, writer = pipe
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.lowlevel.checkpoint)
        nursery.start_soon(writer.send_all, b"late")
        assert await read_some(reader, 100) == b"late"
    await writer.aclose()
    assert await read_some(reader, 100) == b""


async def test_reading_from_an_end_that_is_closed(pipe: Pipe) -> None:
    reader, _ = pipe
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await read_some(reader, 100)

        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        await reader.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await read_some(reader, 100)


async def test_a_cancelled_reader_has_taken_nothing(pipe: Pipe) -> None:
    reader, writer = pipe
    write_what_fits(writer, b"kept")
    with trio.CancelScope() as scope:
        scope.cancel()
        await read_some(reader, 100)
    assert scope.cancelled_caught
    assert await read_some(reader, 100) == b"kept"


async def test_a_frame_is_on_its_way_before_another_task_runs(pipe: Pipe) -> None:
    reader, writer = pipe
    channel, order = ControlChannel(writer, reader), []
    send = channel.send(Running())
    send.send(None)  # up to where it first gives way to others
    order.append(os.read(reader.fileno(), 100))
    assert order == [encode_frame(Running())]
    send.close()


async def test_a_cancelled_sender_has_sent_nothing_or_all_of_it(pipe: Pipe) -> None:
    reader, writer = pipe
    channel = ControlChannel(writer, reader)
    with trio.CancelScope() as scope:
        scope.cancel()
        await channel.send(Ping(seq=1))
    assert scope.cancelled_caught
    await channel.send(Ping(seq=2))
    assert await anext(channel) == Ping(seq=2)


async def test_frames_larger_than_the_pipe_arrive_whole_and_in_order(pipe: Pipe) -> None:
    reader, writer = pipe
    channel = ControlChannel(writer, reader)
    frames = [Start(job={"job_id": str(n), "fill": "x" * 300_000}) for n in range(3)]
    async with trio.open_nursery() as nursery:
        for frame in frames:
            nursery.start_soon(channel.send, frame)
        received = [await anext(channel) for _ in frames]
    assert sorted(frame.job["job_id"] for frame in received) == ["0", "1", "2"]
    assert all(len(frame.job["fill"]) == 300_000 for frame in received)


async def test_a_small_frame_is_sent_at_once_and_whole(pipe: Pipe) -> None:
    reader, writer = pipe
    channel = ControlChannel(writer, reader)
    assert channel.send_now(Ping(seq=1))
    assert os.read(reader.fileno(), 1000) == encode_frame(Ping(seq=1))


async def test_what_has_to_wait_or_cannot_be_sent_is_not_begun(pipe: Pipe) -> None:
    reader, writer = pipe
    channel = ControlChannel(writer, reader)
    assert not channel.send_now(Start(job={"metadata": "x" * 10_000}))
    assert not channel.send_now(Start(job={"metadata": float("nan")}))
    with pytest.raises(BlockingIOError):
        os.read(reader.fileno(), 1)
    while write_what_fits(writer, bytes(1000)):
        pass
    # There may be room for a part of it, and a part of it is not sent.
    assert not channel.send_now(Start(job={"metadata": "x" * 3000}))
