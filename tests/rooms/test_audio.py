"""Frames, feeds and the conversion between formats."""

from __future__ import annotations

import gc

import pytest
import trio
import trio.testing

from vsdk_trio.rooms.audio import AudioFormat, AudioFrame, split
from vsdk_trio.rooms.events import Publisher, Subscription
from vsdk_trio.rooms.loopback import tone
from vsdk_trio.rooms.playback import Converter
from vsdk_trio.testing.sounds import loudness, pitch


@pytest.mark.parametrize("rate", [8000, 16000, 24000, 44100, 48000])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_tone_stays_a_tone(rate: int, channels: int) -> None:
    frames = list(tone(440, 1.0, sample_rate=48000))
    there, back = Converter(AudioFormat(rate, channels)), Converter(AudioFormat(48000, 1))
    converted = [there.convert(frame) for frame in frames]
    assert {(f.sample_rate, f.channels) for f in converted} == {(rate, channels)}
    assert sum(f.seconds for f in converted) == pytest.approx(1.0, abs=0.01)
    assert pitch(converted) == pytest.approx(440, rel=0.01)
    assert loudness(converted) == pytest.approx(loudness(frames), rel=0.05)
    assert [f.timestamp for f in converted][:3] == [0, rate * 960 // 48000, rate * 1920 // 48000]
    returned = [back.convert(frame) for frame in converted]
    assert pitch(returned) == pytest.approx(440, rel=0.01)
    assert loudness(returned) == pytest.approx(loudness(frames), rel=0.1)


def test_what_is_right_is_left_alone_and_a_stream_may_change() -> None:
    frame = AudioFrame(data=b"\1\0" * 10, sample_rate=48000)
    converter = Converter(AudioFormat(48000))
    assert converter.convert(frame) is frame
    stereo = AudioFrame(data=b"\2\0\4\0" * 480, sample_rate=24000, channels=2)
    assert converter.convert(stereo).channels == 1
    assert converter.convert(frame) is frame


def test_long_frames_are_split_without_a_gap() -> None:
    frame = AudioFrame(data=bytes(range(200)) * 40, sample_rate=48000, channels=2, timestamp=7)
    pieces = list(split(frame))
    assert [piece.samples for piece in pieces] == [960, 960, 80]
    assert [piece.timestamp for piece in pieces] == [7, 967, 1927]
    assert b"".join(piece.data for piece in pieces) == frame.data
    assert list(split(pieces[2])) == [pieces[2]]


def test_silence_has_no_pitch() -> None:
    silence = [AudioFrame(data=bytes(960), sample_rate=48000)]
    assert (pitch(silence), loudness(silence), pitch([]), loudness([])) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    "wrong", [{"sample_rate": 0}, {"channels": 3}, {"data": b"abc"}, {"sample_rate": 1_000_000}]
)
def test_a_frame_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        AudioFrame(**{"data": b"", "sample_rate": 48000, **wrong})


async def test_a_feed_keeps_the_newest_and_counts_the_rest() -> None:
    source: Publisher[int] = Publisher(3)
    slow, quick = source.feed(), source.feed()
    assert source.put(0) == 0
    assert await anext(quick) == 0
    assert [source.put(n) for n in range(1, 5)] == [0, 0, 1, 2]
    source.close()
    assert [n async for n in slow] == [2, 3, 4]
    assert [n async for n in quick] == [2, 3, 4]
    assert (slow.dropped, quick.dropped) == (2, 1)
    assert [n async for n in source.feed(9)] == [9]


async def test_a_feed_that_is_forgotten_or_closed_costs_nothing() -> None:
    source: Publisher[int] = Publisher(1)
    with source.feed() as closed:
        source.put(1)
    forgotten = source.feed()
    del forgotten
    gc.collect()
    assert source.put(2) == source.put(3) == 0
    assert [n async for n in closed] == []
    assert closed.dropped == 0


async def test_waiting_for_a_feed_can_be_cancelled_and_loses_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    feed: Subscription[int] = Subscription(5)
    for _ in range(20):
        with trio.move_on_after(1) as nothing:
            await anext(feed)
        assert nothing.cancelled_caught
    feed.put(1)
    with trio.CancelScope() as scope:
        scope.cancel()
        await anext(feed)
    assert await anext(feed) == 1
    feed.close()
    with pytest.raises(StopAsyncIteration):
        await anext(feed)
