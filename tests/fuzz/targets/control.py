"""Targets: the control channel between worker and job process, and the stderr of one."""

from __future__ import annotations

import logging
import random
import zlib
from typing import Any

import attrs
import trio
import trio.testing

from vsdk_trio.control.channel import ControlChannel
from vsdk_trio.control.frames import (
    Finished,
    Frame,
    Hello,
    InitFailed,
    JobInfo,
    Joined,
    Ping,
    Pong,
    Ready,
    Running,
    Start,
    Stop,
    UnknownFrame,
    decode_frame,
    encode_frame,
)
from vsdk_trio.control.ndjson import Line, LineSplitter
from vsdk_trio.errors import FrameError
from vsdk_trio.processes.job_log import BEGINNINGS, MAX_LINE_BYTES, TAIL_LINES, JobLog, pump_stderr

from ..base import TOKEN, Target, chunks, expect, json_lines, only, send_chunks, simulate

_JOB = JobInfo(job_id="j", room_id="r", token=TOKEN, room_options={"vision": True}, wait=True)
_FRAMES = (
    Hello(entrypoint={"module": "m", "qualname": "f"}, initialize={}, agent_id="a", cookie="c"),
    Start(job=_JOB.to_dict()),
    Stop(reason="because"),
    Ping(seq=1),
    Ready(pid=1, recorded=True, seconds=0.5),
    InitFailed(error="e"),
    Running(),
    Joined(participant_id="p", participant_name="n"),
    Pong(seq=1, memory_mb=1.5, lag_ms=2.5),
    Finished(status="failed", error="e"),
)
_SEEDS = tuple(encode_frame(frame) for frame in _FRAMES)
_TYPES = (
    "hello",
    "start",
    "stop",
    "ping",
    "ready",
    "init_failed",
    "running",
    "joined",
    "pong",
    "finished",
    "new",
)
_NAMES = tuple(
    sorted({field.name for frame in (*_FRAMES, _JOB) for field in attrs.fields(type(frame))})
)


# Python reads what is nested as deep as its own stack allows: about 1,000 levels, less those above.
_SURELY_READ = 300


def run_frames(data: bytes) -> None:
    """A line, and an object of a job: decoded, encoded, the same; all else is a `FrameError`."""
    for line in data.split(b"\n"):
        with only(FrameError):
            frame = decode_frame(line)
            if not isinstance(frame, UnknownFrame):
                expect(decode_frame(encode_frame(frame)) == frame, "not the same frame")
            if isinstance(frame, Start):
                expect(TOKEN not in repr(frame), "the token in a repr")
                job = JobInfo.from_dict(frame.job)
                expect(JobInfo.from_dict(job.to_dict()) == job, "not the same job")


def run_lines(data: bytes) -> None:
    """The splitter, fed piece by piece, does what a split of the whole would."""
    most = random.Random(zlib.crc32(data)).choice((1, 3, 16, 200))
    splitter = LineSplitter(most)
    lines: list[Line] = []
    for chunk in chunks(data):
        lines += splitter.feed(chunk)
    lines += splitter.rest()
    *whole, rest = data.split(b"\n")
    expected = [Line(line[:most], len(line) > most) for line in [*whole, *filter(None, [rest])]]
    expect(lines == expected, f"{lines} instead of {expected}")


def run_channel(data: bytes) -> None:
    """The channel gives the frames of the lines, and counts the others but for empty ones."""
    run_lines(data)
    frames: list[Frame] = []
    junk: list[str] = []

    async def main() -> None:
        ours, theirs = trio.testing.memory_stream_pair()
        channel = ControlChannel(ours, ours, on_junk=junk.append)
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                await send_chunks(theirs, data)
                await theirs.send_eof()

            nursery.start_soon(send)
            async for frame in channel:
                frames.append(frame)
        expect(channel.junk_lines == len(junk), "junk is not counted")

    simulate(main)
    expect(not any(TOKEN in reason or len(reason) > 500 for reason in junk), "a telling reason")
    expected: list[Frame] = []
    faults = 0
    for line in filter(None, data.split(b"\n")):
        if line.count(b"{") + line.count(b"[") > _SURELY_READ:
            return  # the channel reads it further down the stack than this function does
        try:
            expected.append(decode_frame(line))
        except FrameError:
            faults += 1
    expect((frames, len(junk)) == (expected, faults), "other frames than those that were sent")


class _Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.formatter = logging.Formatter("%(levelname)s %(name)s %(message)s %(pid)s")
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, Any] = record.__dict__
        self.count += 1
        expect(len(self.format(record)) <= 4 * MAX_LINE_BYTES + 100, "an overlong record")
        expect(fields["pid"] == 7 and fields["job_id"] == "j", "a field was overwritten")


def run_stderr(data: bytes) -> None:
    """Every line becomes a record or is counted; the tail stays short."""
    handler = _Records()
    logger = logging.Logger("fuzz", logging.DEBUG)
    logger.addHandler(handler)
    log = JobLog(logger, 7)
    log.bind({"job_id": "j"})

    async def main() -> None:
        ours, theirs = trio.testing.memory_stream_one_way_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pump_stderr, theirs, log)
            await send_chunks(ours, data)
            await ours.aclose()

    simulate(main)
    tail = log.tail
    expect(len(tail) <= TAIL_LINES and all(len(line) <= 500 for line in tail), "a long tail")
    if not any(beginning in data for beginning in BEGINNINGS):  # many lines are one record then
        expect(handler.count + log.dropped_lines >= data.count(b"\n"), "a line got lost")


_LOG_SEEDS = (
    b'{"msg":"m","level":"WARNING","logger":"a.b","extra":{"pid":9,"job_id":"x"},"exc":"trace"}\n',
    b"a line\r\nanother\n\nlast",
    b'{"msg":"m","level":"nonsense","extra":{"message":"x"}}\n{"msg":1}\n{"',
    b"\xff\xfe\0\x1b[31m\n" * 30,
    b"x" * (MAX_LINE_BYTES + 5) + b"\ny\n",
    b"Fatal Python error: Aborted\n\nCurrent thread 0x1 (most recent call first):\n"
    b'  File "a.py", line 1 in f\nExtension modules: a (total: 1)\nThread 0x2\nrest\n',
)
_WORDS = tuple(word.encode() for word in (*_NAMES, *_TYPES, TOKEN, "NaN", "Infinity", "1e999"))

TARGETS = (
    Target(
        name="frames",
        run=run_frames,
        seeds=_SEEDS,
        words=_WORDS,
        built=json_lines(_TYPES, _NAMES),
        share=520,
    ),
    Target(
        name="channel",
        run=run_channel,
        seeds=(*_SEEDS, b"".join(_SEEDS), b"junk\n" + _SEEDS[3]),
        words=_WORDS,
        built=json_lines(_TYPES, _NAMES, most=4),
        share=15,
        quick=1500,
    ),
    Target(
        name="stderr",
        run=run_stderr,
        seeds=_LOG_SEEDS,
        words=(b'{"msg":"', b'"level":"ERROR"', b'"extra":{', b"\r\n", b'"exc":'),
        built=json_lines((), ("msg", "level", "logger", "extra", "exc", "name"), most=4),
        share=15,
        quick=1000,
    ),
)
