"""The codec: round trips, strictness with paths, tolerance, bounds, and no secrets in errors."""

from __future__ import annotations

import json
import math
import traceback
from collections.abc import Callable
from types import UnionType
from typing import Any, get_args, get_type_hints

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsdk_trio.errors import WireError
from vsdk_trio.protocol.codec import (
    MAX_DEPTH,
    Unknown,
    decode_as,
    decode_from_registry,
    decode_from_worker,
    encode,
)
from vsdk_trio.protocol.messages import (
    MAX_MESSAGE_BYTES,
    AvailabilityRequest,
    AvailabilityResponse,
    JobAssignment,
    JobStatus,
    JobTermination,
    JobUpdate,
    JsonObject,
    ServerMessage,
    UpdateJobStatus,
    UpdateWorkerStatus,
    WireMessage,
    WorkerMessage,
    WorkerPing,
    WorkerPong,
    WorkerStatus,
)

TEXT = st.text(max_size=20)
INT = st.integers(-(2**63), 2**64 - 1)
FLOAT = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | INT | FLOAT | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
OBJECT = st.dictionaries(TEXT, JSON, max_size=4)
BY_KIND: dict[Any, st.SearchStrategy[Any]] = {
    type(None): st.none(),
    str: TEXT,
    int: INT,
    float: FLOAT,
    bool: st.booleans(),
    list[str]: st.lists(TEXT, max_size=4),
    JsonObject: OBJECT,
    JobStatus: st.sampled_from(JobStatus),
    WorkerStatus: st.sampled_from(WorkerStatus),
}


def messages(cls: type[WireMessage], **fixed: str) -> st.SearchStrategy[WireMessage]:
    """Any `cls`, but for what is fixed; a job id is never empty."""
    fields = {}
    hints = get_type_hints(cls)
    for field in attrs.fields(cls):
        hint = hints[field.name]
        kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
        fields[field.name] = st.one_of(*(BY_KIND[kind] for kind in kinds))
        if field.name == "type":
            fields[field.name] = st.just(fixed.get("type", field.default))
        if field.name == "job_id" and field.default in ("", attrs.NOTHING):
            fields[field.name] = st.text(min_size=1, max_size=20)
    return st.builds(cls, **fields)


@given(
    messages(ServerMessage, type="register")
    | messages(AvailabilityRequest)
    | messages(JobAssignment)
    | messages(JobTermination)
    | messages(WorkerPong)
)
def test_what_a_registry_encodes_a_worker_decodes(message: WireMessage) -> None:
    text = encode(message)
    assert decode_from_registry(text) == message
    assert decode_from_registry(text.encode()) == message


@given(
    messages(WorkerMessage, type="register")
    | messages(WorkerMessage, type="status_update")
    | messages(AvailabilityResponse)
    | messages(JobUpdate)
    | messages(WorkerPing)
)
def test_what_a_worker_encodes_a_registry_decodes(message: WireMessage) -> None:
    assert decode_from_worker(encode(message)) == message


@given(st.data(), st.sampled_from([UpdateJobStatus, UpdateWorkerStatus]))
def test_the_classes_without_a_type_go_round_too(
    data: st.DataObject, cls: type[WireMessage]
) -> None:
    message = data.draw(messages(cls))
    assert decode_as(cls, encode(message)) == message


@given(st.text() | st.binary() | JSON.map(json.dumps))
def test_junk_is_an_error_of_ours_or_an_unknown_message(text: str | bytes) -> None:
    for decode in (decode_from_registry, decode_from_worker):
        outcome = outcome_of(decode, text)
        assert isinstance(outcome, WireError | Unknown)


KNOWN_TYPES = [
    "register",
    "availability_request",
    "availability_response",
    "job_assignment",
    "job_termination",
    "job_update",
    "ping",
    "pong",
    "status_update",
]
NAMES = sorted({field.name for cls in WireMessage.__subclasses__() for field in attrs.fields(cls)})
DECODERS: list[Callable[[str], object]] = [decode_from_registry, decode_from_worker]
KINDS = st.sampled_from(KNOWN_TYPES)


def outcome_of(decode: Callable[[Any], object], text: str | bytes) -> object:
    """The message, or the error."""
    try:
        return decode(text)
    except WireError as error:
        return error


@given(KINDS, st.sampled_from(DECODERS), st.dictionaries(st.sampled_from(NAMES), JSON))
def test_known_types_with_junk_in_them(
    kind: str, decode: Callable[[str], object], fields: dict[str, Any]
) -> None:
    outcome = outcome_of(decode, json.dumps({**fields, "type": kind}))
    if isinstance(outcome, WireError):
        assert str(outcome).startswith(f"{kind}: expected ")
        assert " @ $." in str(outcome)
    elif isinstance(outcome, WireMessage):
        assert decode(encode(outcome)) == outcome
    else:
        assert outcome == Unknown(type=kind, raw={**fields, "type": kind})


SECRETS = st.sampled_from(["s3cret", ["s3cret"], {"a": "s3cret"}])


@given(KINDS, st.sampled_from(DECODERS), st.dictionaries(st.sampled_from(NAMES), SECRETS))
def test_errors_quote_no_value(
    kind: str, decode: Callable[[str], object], fields: dict[str, Any]
) -> None:
    outcome = outcome_of(decode, json.dumps({**fields, "type": kind}))
    if isinstance(outcome, WireError):
        assert "s3cret" not in "".join(traceback.format_exception(outcome))


def test_an_error_names_every_culprit_and_its_place() -> None:
    text = json.dumps(
        {
            "type": "job_assignment",
            "job_id": "j",
            "room_options": "x",
            "wait": 1,
            "token": 5,
            "timeout": "5",
        }
    )
    with pytest.raises(WireError) as caught:
        decode_from_registry(text)
    assert str(caught.value) == (
        "job_assignment: expected str, got int @ $.token"
        "; expected an object, got str @ $.room_options"
        "; expected bool, got int @ $.wait"
        "; expected float, got str @ $.timeout"
    )


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "frame: not JSON: "),
        ('{"token": "s3cret', "frame: not JSON: "),
        ("NaN", "frame: not JSON: "),
        ("\ud800", "frame: not JSON: lone surrogates"),
        (b"\xff", "frame: not JSON: "),
        ("[]", "frame: expected an object, got list @ $"),
        ("null", "frame: expected an object, got NoneType @ $"),
        ("{}", "frame: expected str, got NoneType @ $.type"),
        ('{"type": 5}', "frame: expected str, got int @ $.type"),
        ('{"type": "pong", "timestamp": true}', "pong: expected int, got bool @ $.timestamp"),
        ('{"type": "pong", "timestamp": 1.0}', "pong: expected int, got float @ $.timestamp"),
        ('{"type": "job_termination"}', "job_termination: expected a job id, got none @ $.job_id"),
        (
            '{"type": "job_termination", "job_id": null}',
            "job_termination: expected a job id, got none @ $.job_id",
        ),
        (
            '{"type": "job_assignment", "job_id": ""}',
            "job_assignment: expected a job id, got none @ $.job_id",
        ),
    ],
)
def test_malformed_frames(text: str | bytes, error: str) -> None:
    with pytest.raises(WireError) as caught:
        decode_from_registry(text)
    assert str(caught.value).startswith(error)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("capabilities", "error"),
    [
        ("room", "expected an array, got str @ $.capabilities"),
        (["room", 5, None], "expected str, got int @ $.capabilities[1]"),
    ],
)
def test_the_place_in_an_array(capabilities: object, error: str) -> None:
    with pytest.raises(WireError) as caught:
        decode_from_worker(json.dumps({"type": "register", "capabilities": capabilities}))
    assert str(caught.value) == f"register: {error}"


def test_null_is_as_good_as_missing_and_unknown_fields_are_ignored() -> None:
    text = json.dumps(
        {"type": "job_assignment", "job_id": "j", "token": None, "wait": None, "newer": {"a": 1}}
    )
    assert decode_from_registry(text) == JobAssignment(job_id="j")


def test_an_integer_is_a_number() -> None:
    message = decode_from_registry('{"type": "job_assignment", "job_id": "j", "timeout": 5}')
    assert isinstance(message, JobAssignment)
    assert (message.timeout, type(message.timeout)) == (5.0, float)


def test_an_unknown_type_is_kept_whole_and_shown_without_its_contents() -> None:
    raw = {"type": "newer", "token": "s3cret"}
    for decode in (decode_from_registry, decode_from_worker):
        message = decode(json.dumps(raw))
        assert message == Unknown(type="newer", raw=raw)
        assert "s3cret" not in repr(message)


def test_each_side_knows_only_what_the_other_may_say() -> None:
    assert isinstance(decode_from_registry(encode(JobUpdate(job_id="j"))), Unknown)
    assert isinstance(decode_from_worker(encode(JobTermination(job_id="j"))), Unknown)


def test_a_status_may_be_newer_than_its_enum() -> None:
    def read(status: str) -> JobStatus | str:
        return decode_as(UpdateJobStatus, json.dumps({"job_id": "j", "status": status})).status

    assert read("running") is JobStatus.RUNNING
    assert read("paused") == "paused"


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"job_id": "j"}, "required field missing @ $.status"),
        ({"job_id": "j", "status": 5}, "expected str, got int @ $.status"),
        ({"job_id": "", "status": "running"}, "expected a job id, got none @ $.job_id"),
    ],
)
def test_a_message_without_a_type_is_named_by_its_class(fields: object, error: str) -> None:
    with pytest.raises(WireError) as caught:
        decode_as(UpdateJobStatus, json.dumps(fields))
    assert str(caught.value) == f"UpdateJobStatus: {error}"


def test_none_is_left_off_the_wire_and_falsy_stays() -> None:
    assert encode(AvailabilityResponse(job_id="j")) == (
        '{"type":"availability_response","job_id":"j","available":false}'
    )
    assert encode(JobAssignment(job_id="", metadata={"a": None})) == (
        '{"type":"job_assignment","job_id":"","job_type":"","room_id":"","room_name":"",'
        '"agent_name":"","namespace":"","token":"","url":"","metadata":{"a":null},"wait":false}'
    )


def test_only_the_fields_that_the_peer_can_bear() -> None:
    request = AvailabilityRequest(job_id="j", room_id="r", agent_name="a", namespace="n")
    short = frozenset({"type", "job_id", "room_id", "agent_name"})
    assert json.loads(encode(request, only=short)) == {
        "type": "availability_request",
        "job_id": "j",
        "room_id": "r",
        "agent_name": "a",
    }


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def test_depth_is_bounded_both_ways() -> None:
    fits, deep = ({"job_id": "j", "metadata": {"a": nested(MAX_DEPTH - 2 + n)}} for n in (0, 1))
    text = encode(JobAssignment(**fits))
    assert decode_from_registry(text) == JobAssignment(**fits)
    place = f"$.metadata.a{'[0]' * (MAX_DEPTH - 2)}"
    error = f"job_assignment: nesting deeper than {MAX_DEPTH} does not fit into JSON here @ {place}"
    with pytest.raises(WireError) as caught:
        encode(JobAssignment(**deep))
    assert str(caught.value) == error
    with pytest.raises(WireError) as caught:
        decode_from_registry(json.dumps({"type": "job_assignment", **deep}))
    assert str(caught.value) == error


def test_size_is_bounded_both_ways() -> None:
    room = MAX_MESSAGE_BYTES - len(encode(JobUpdate(job_id="j", error="")))
    text = encode(JobUpdate(job_id="j", error="x" * room))
    assert len(text) == MAX_MESSAGE_BYTES
    assert isinstance(decode_from_worker(text), JobUpdate)
    with pytest.raises(WireError, match=f"job_update: larger than {MAX_MESSAGE_BYTES} bytes"):
        encode(JobUpdate(job_id="j", error="x" * (room + 1)))
    # Counted in bytes, not in characters.
    for too_large in (f"{text} ", f"{text} ".encode(), text.replace("x", "\N{SNOWMAN}", 1)):
        with pytest.raises(WireError, match=f"frame: larger than {MAX_MESSAGE_BYTES} bytes"):
            decode_from_worker(too_large)


def test_an_object_that_contains_itself() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(WireError, match="nesting deeper"):
        encode(JobAssignment(metadata={"loop": loop}))
    bush: list[Any] = []
    for _ in range(MAX_DEPTH - 3):
        bush = [bush] * 10
    with pytest.raises(WireError, match="larger than"):
        encode(JobAssignment(metadata={"bush": bush}))


class FloatOfItsOwn(float):
    """As numpy's are."""


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (math.nan, "a number that is not finite does not fit into JSON here @ $.metadata.a[1]"),
        (-math.inf, "a number that is not finite does not fit into JSON here @ $.metadata.a[1]"),
        (2**64, "an integer beyond 64 bits does not fit into JSON here @ $.metadata.a[1]"),
        ({1}, "a value of type set does not fit into JSON here @ $.metadata.a[1]"),
        (b"s3cret", "a value of type bytes does not fit into JSON here @ $.metadata.a[1]"),
        ({5: "b"}, "a key that is not a str does not fit into JSON here @ $.metadata.a[1]"),
        ("\ud800", "str is not valid UTF-8: surrogates not allowed"),
        (FloatOfItsOwn(), "Type is not JSON serializable: FloatOfItsOwn"),
    ],
)
def test_what_does_not_fit_into_json(value: object, error: str) -> None:
    with pytest.raises(WireError) as caught:
        encode(JobAssignment(metadata={"a": (0, value)}))
    assert str(caught.value) == f"job_assignment: {error}"


def test_an_error_text_is_bounded() -> None:
    with pytest.raises(WireError) as caught:
        encode(JobAssignment(metadata={"k" * 10_000: {1}}))
    assert len(str(caught.value)) < 600


def test_many_culprits_cost_no_more_than_one() -> None:
    text = json.dumps({"type": "register", "capabilities": [1] * 300_000})
    with pytest.raises(WireError, match=r"expected str, got int @ \$\.capabilities\[0\]$"):
        decode_from_worker(text)
