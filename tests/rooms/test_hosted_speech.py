"""The pipe of sound between two threads: bounded, silent when empty."""

from __future__ import annotations

import threading

import pytest
import trio
import trio.testing

from vsdk_trio.rooms.playback import Speech

PIECE = 1920


async def test_what_goes_in_comes_out_and_then_silence() -> None:
    speech = Speech()
    await speech.put(b"\1" * PIECE)
    await speech.put(b"\2" * 10)
    assert speech.take() == b"\1" * PIECE
    assert speech.take() == b"\2" * 10 + bytes(PIECE - 10)
    assert speech.take() == bytes(PIECE)


async def test_what_was_interrupted_is_not_heard() -> None:
    speech = Speech()
    await speech.put(b"\1" * PIECE)
    speech.clear()
    assert speech.take() == bytes(PIECE)


async def test_a_reader_that_stands_still_holds_the_writer_up() -> None:
    speech = Speech()
    with trio.move_on_after(0.05) as scope:
        for _ in range(1000):
            await speech.put(b"\1" * PIECE)
    assert scope.cancelled_caught
    pieces = 0
    while speech.take() != bytes(PIECE):
        pieces += 1
    assert pieces == 25


@pytest.mark.real
async def test_a_writer_goes_on_when_there_is_room() -> None:
    speech = Speech()
    heard = bytearray()

    def read() -> None:
        while len(heard) < 100 * PIECE:
            piece = speech.take()
            if any(piece):
                heard.extend(piece)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(100):
        await speech.put(bytes([number + 1]) * PIECE)
    await trio.to_thread.run_sync(reader.join, 10)
    assert heard == b"".join(bytes([number + 1]) * PIECE for number in range(100))


def test_a_reader_may_outlive_the_run() -> None:
    made: list[Speech] = []

    async def main() -> None:
        speech = Speech()
        made.append(speech)
        with trio.move_on_after(0.01):
            while True:
                await speech.put(b"\1" * PIECE)

    trio.run(main)
    assert any(made[0].take())
