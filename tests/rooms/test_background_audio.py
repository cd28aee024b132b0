"""Several speeches at once, where the options say so."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
import trio
import trio.testing

from vsdk_trio.rooms import AudioFrame
from vsdk_trio.rooms.joined import JoinedRoom
from vsdk_trio.rooms.loopback import Step, open_loopback_room, tone
from vsdk_trio.rooms.playback import add
from vsdk_trio.testing.sounds import loudness, pitch

from .contract import request


def a_room() -> Any:
    return open_loopback_room(request(background_audio=True, no_participant_timeout_seconds=None))


def heard(room: JoinedRoom[Any], start: float, end: float) -> list[AudioFrame]:
    """What was heard between two moments, in seconds since something was heard first."""
    frames = list(room.transport.heard)
    return frames[round(start * 50) : round(end * 50)]


async def test_speech_is_heard_over_music(autojump_clock: trio.testing.MockClock) -> None:
    async with a_room() as room, trio.open_nursery() as nursery:
        began = trio.current_time()
        nursery.start_soon(room.play, tone(200, 3.0, level=0.1))
        await trio.sleep(1)
        await room.play(tone(600, 1.0, sample_rate=16000, level=0.4))
        assert 1.9 < trio.current_time() - began < 2.4
        nursery.cancel_scope.deadline = began + 4
        while nursery.child_tasks:  # noqa: ASYNC110
            await trio.sleep(0.1)
        assert 2.9 < trio.current_time() - began < 3.3
        before, during, after = heard(room, 0, 0.8), heard(room, 1.3, 1.9), heard(room, 2.4, 2.9)
        assert pitch(before) == pytest.approx(200, rel=0.02)
        assert pitch(after) == pytest.approx(200, rel=0.02)
        assert loudness(during) > 3 * loudness(before)
        assert sum(frame.seconds for frame in room.transport.heard) == pytest.approx(3.0, abs=0.1)


async def test_an_interruption_leaves_the_music_on(autojump_clock: trio.testing.MockClock) -> None:
    async with a_room() as room, trio.open_nursery() as nursery:
        nursery.start_soon(room.play, tone(200, 3.0, level=0.1))
        await trio.sleep(1)
        with trio.move_on_after(0.5):
            await room.play(tone(600, 10, level=0.4))
        await trio.sleep(0.1)
        so_far = len(room.transport.heard)
        await trio.sleep(0.6)
        later = list(room.transport.heard)[so_far:]
        assert pitch(later) == pytest.approx(200, rel=0.02)
        assert len(later) >= 25


@pytest.mark.parametrize("seconds", [0, 0.005, 0.03])
async def test_short_sounds_end_too(seconds: float, autojump_clock: trio.testing.MockClock) -> None:
    async with a_room() as room:
        with trio.fail_after(1):
            await room.play(tone(600, seconds))
            await room.play([])


async def test_a_live_source_may_pause(autojump_clock: trio.testing.MockClock) -> None:
    async def pausing() -> AsyncIterator[AudioFrame]:
        for _ in range(3):
            for frame in tone(600, 0.1):
                yield frame
            await trio.sleep(5)

    async with a_room() as room:
        started = trio.current_time()
        await room.play(pausing())
        assert trio.current_time() - started == pytest.approx(15.0, abs=0.5)
        assert len(room.transport.heard) == 15


@pytest.mark.parametrize("end", ["end", "leave"])
async def test_the_end_of_a_session_ends_all_speech(
    end: str, autojump_clock: trio.testing.MockClock
) -> None:
    def endless() -> Iterable[AudioFrame]:
        while True:
            yield from tone(200, 0.1)

    async with a_room() as room:
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(room.play, endless())
                nursery.start_soon(room.play, tone(300, 500))
                await trio.sleep(1)
                if end == "leave":
                    await room.leave()
                else:
                    room.transport.perform(Step(do="end"))


def test_what_is_too_loud_is_cut_off() -> None:
    loud = (30000).to_bytes(2, "little", signed=True)
    assert add([loud, loud]) == (32767).to_bytes(2, "little", signed=True)
    assert add([loud]) == loud
