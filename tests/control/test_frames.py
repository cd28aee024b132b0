from __future__ import annotations

import contextlib
import json
from typing import Any, get_args

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsdk_trio.control import frames
from vsdk_trio.control.frames import (
    MAX_FRAME_BYTES,
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
    SendableFrame,
    Start,
    Stop,
    UnknownFrame,
    decode_frame,
    encode_frame,
)
from vsdk_trio.errors import FrameError

_numbers = st.floats(allow_nan=False, allow_infinity=False)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | _numbers | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_objects = st.dictionaries(st.text(), _json, max_size=4)
_frames: st.SearchStrategy[SendableFrame] = st.one_of(
    st.builds(
        Hello,
        entrypoint=_objects,
        initialize=st.none() | _objects,
        agent_id=st.text(),
        log_level=st.text(),
        shutdown_callback_timeout=_numbers,
        cookie=st.text(),
    ),
    st.builds(Start, job=_objects),
    st.builds(Stop, reason=st.text()),
    st.builds(Ping, seq=st.integers()),
    st.builds(Ready, pid=st.integers(), recorded=st.booleans(), seconds=_numbers),
    st.builds(InitFailed, error=st.text()),
    st.builds(Running),
    st.builds(Joined, participant_id=st.text(), participant_name=st.text()),
    st.builds(Pong, seq=st.integers(), memory_mb=st.none() | _numbers, lag_ms=_numbers),
    st.builds(
        Finished,
        status=st.sampled_from(["completed", "failed", "cancelled"]),
        error=st.none() | st.text(),
    ),
)


@given(_frames)
def test_every_frame_survives_the_round_trip_in_one_line(frame: SendableFrame) -> None:
    line = encode_frame(frame)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode_frame(line) == frame
    assert decode_frame(line[:-1]) == frame


@given(st.binary() | _json.map(lambda value: json.dumps(value).encode()))
def test_junk_is_a_frame_error_or_an_unknown_frame(line: bytes) -> None:
    try:
        frame = decode_frame(line)
    except FrameError:
        return
    assert isinstance(frame, UnknownFrame)


@given(_frames, st.data())
def test_one_field_turned_into_junk_never_raises_anything_else(
    frame: SendableFrame, data: st.DataObject
) -> None:
    value = json.loads(encode_frame(frame))
    value[data.draw(st.sampled_from(sorted(value)))] = data.draw(_json)
    with contextlib.suppress(FrameError):
        decode_frame(json.dumps(value).encode())


def test_every_class_can_be_sent() -> None:
    defined = {
        cls
        for cls in vars(frames).values()
        if isinstance(cls, type) and attrs.has(cls) and not cls.__name__.startswith("_")
    }
    assert defined - {UnknownFrame, JobInfo} == set(get_args(frames.SendableFrame))


def test_unknown_keys_are_ignored_and_missing_ones_take_their_default() -> None:
    assert decode_frame(b'{"type":"stop","colour":"red"}') == Stop(reason="")


def test_an_unknown_type_is_not_an_error() -> None:
    assert decode_frame(b'{"type":"migrate","to":1}') == UnknownFrame(type="migrate")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"", "not a line of JSON"),
        (b"hello", "not a line of JSON"),
        (b"\xff\xfe", "not a line of JSON"),
        (b'{"type":"ping","seq":NaN}', "not a line of JSON"),
        (b"[" * 100_000, "not a line of JSON"),
        (b"1" * 10_000, "not a line of JSON"),
        (b"[]", "expected an object, got list"),
        (b"{}", "an object without a type"),
        (b'{"type":3}', "an object without a type"),
        (b'{"type":"ping"}', "ping: seq is missing"),
        (b'{"type":"ping","seq":true}', "ping: seq must be an integer, got bool"),
        (b'{"type":"ping","seq":1.5}', "ping: seq must be an integer, got float"),
        (b'{"type":"ready","pid":1,"seconds":1e999}', "ready: seconds must be a number"),
        (b'{"type":"ready","pid":1,"seconds":"1"}', "ready: seconds must be a number, got str"),
        (b'{"type":"finished","status":"ended"}', "finished: status must be 'completed', 'fail"),
        (b'{"type":"start","job":[]}', "start: job must be an object, got list"),
        (b" " * (MAX_FRAME_BYTES + 1), "a line of 4194305 bytes, more than 4194304"),
    ],
)
def test_what_is_not_a_frame_says_why(line: bytes, message: str) -> None:
    with pytest.raises(FrameError, match=message.replace("(", r"\(")):
        decode_frame(line)


@pytest.mark.parametrize(
    ("job", "message"),
    [
        ({"room_options": {"avatar": object()}}, "start: cannot be sent as JSON: .*object"),
        ({"load": float("nan")}, "start: cannot be sent as JSON"),
        ({"text": "x" * MAX_FRAME_BYTES}, "start: 41943.. bytes, more than 4194304"),
    ],
)
def test_what_cannot_be_a_line_is_refused_before_it_is_sent(
    job: dict[str, Any], message: str
) -> None:
    with pytest.raises(FrameError, match=message):
        encode_frame(Start(job=job))


def test_a_recursive_object_is_refused() -> None:
    job: dict[str, Any] = {}
    job["self"] = job
    with pytest.raises(FrameError, match="cannot be sent"):
        encode_frame(Start(job=job))


def test_secrets_are_neither_in_the_repr_nor_in_an_error() -> None:
    frame: Frame = Start(job={"token": "s3cret"})
    assert "s3cret" not in repr(frame)
    with pytest.raises(FrameError) as caught:
        decode_frame(b'{"type":"start","job":"s3cret"}')
    assert "s3cret" not in str(caught.value)
    with pytest.raises(FrameError) as caught:
        decode_frame(b'{"type":"start","job":{"token":"s3cret"}')
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
