"""Targets: the codec of the registry protocol, and the session that reads frames by it."""

from __future__ import annotations

import attrs

from vsdk_trio.errors import IllegalTransitionError, WireError
from vsdk_trio.protocol.codec import (
    Unknown,
    decode_as,
    decode_from_registry,
    decode_from_worker,
    encode,
)
from vsdk_trio.protocol.messages import (
    AvailabilityRequest,
    AvailabilityResponse,
    JobAssignment,
    JobTermination,
    JobUpdate,
    ServerMessage,
    UpdateJobStatus,
    UpdateWorkerStatus,
    WireMessage,
    WorkerMessage,
    WorkerPing,
    WorkerPong,
)
from vsdk_trio.protocol.session import (
    IgnoredFrame,
    ProtocolSession,
    ProtocolSessionState,
    Registered,
    RegistrationRefusal,
)

from ..base import TOKEN, BrokenPromise, Target, expect, json_lines, only, token_is_a_name

MESSAGES: tuple[type[WireMessage], ...] = (
    WorkerMessage,
    ServerMessage,
    AvailabilityRequest,
    AvailabilityResponse,
    JobAssignment,
    JobTermination,
    JobUpdate,
    UpdateJobStatus,
    UpdateWorkerStatus,
    WorkerPing,
    WorkerPong,
)
NAMES = tuple(sorted({field.name for cls in MESSAGES for field in attrs.fields(cls)}))
TYPES = (
    "register",
    "status_update",
    "availability_request",
    "availability_response",
    "job_assignment",
    "job_termination",
    "job_update",
    "ping",
    "pong",
    "news",
)
SEEDS = (
    b'{"type":"register","success":true,"worker_id":"w","payload":{"a":[1]}}',
    b'{"type":"register","success":false,"message":"no ' + TOKEN.encode() + b'"}',
    b'{"type":"availability_request","job_id":"j","job_type":"room","room_id":"r"}',
    b'{"type":"job_assignment","job_id":"j","room_id":"r","token":"' + TOKEN.encode() + b'",'
    b'"room_options":{"auth_token":"' + TOKEN.encode() + b'"},"metadata":{},"wait":true,'
    b'"timeout":5}',
    b'{"type":"job_termination","job_id":"j","reason":"r"}',
    b'{"type":"pong","timestamp":1700000000000}',
    b'{"type":"register","worker_id":"w","agent_name":"a","capabilities":["x"],"token":"'
    + TOKEN.encode()
    + b'","load_threshold":0.75,"max_processes":2,"version":"1"}',
    b'{"type":"status_update","status":"available","load":0.5,"job_count":1}',
    b'{"type":"availability_response","job_id":"j","available":true}',
    b'{"type":"job_update","job_id":"j","status":"failed","error":"e"}',
    b'{"type":"ping","timestamp":1}',
)
WORDS = tuple(word.encode() for word in (*NAMES, *TYPES, TOKEN, "1e999", "NaN", "[" * 40))


def run_codec(data: bytes) -> None:
    """Whatever is decoded is encoded again and is the same; all else is a `WireError`."""

    def is_told() -> bool:
        return token_is_a_name(data)

    for text in (data, data.decode("utf-8", "surrogatepass") if _is_text(data) else data):
        with only(WireError, is_told=is_told):
            from_registry = decode_from_registry(text)
            if not isinstance(from_registry, Unknown):
                again = decode_from_registry(_encoded(from_registry))
                expect(again == from_registry, f"{again} is not {from_registry}")
        with only(WireError, is_told=is_told):
            from_worker = decode_from_worker(text)
            if not isinstance(from_worker, Unknown):
                again_from_worker = decode_from_worker(_encoded(from_worker))
                expect(again_from_worker == from_worker, "not the same")
    for cls in MESSAGES:
        with only(WireError, is_told=is_told):
            message = decode_as(cls, data)
            expect(TOKEN not in repr(message) or _is_shown(data), "the token in a repr")
            expect(decode_as(cls, _encoded(message)) == message, "not the same")


def _encoded(message: WireMessage) -> str:
    try:
        return encode(message)
    except WireError as error:
        raise BrokenPromise(f"what was decoded cannot be encoded: {error}") from None


def _is_text(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


def _is_shown(data: bytes) -> bool:
    """Whether the token stands anywhere but in fields that no repr shows."""
    hidden = (b"token", b"auth_token")
    secret = TOKEN.encode()
    for name in hidden:
        data = data.replace(b'"%b":"%b"' % (name, secret), b"")
        data = data.replace(b'"%b": "%b"' % (name, secret), b"")
    return secret in data or b"\\" in data


def run_session(data: bytes) -> None:
    """Each line is a frame: nothing raises but a frame on a session that is closed."""
    session = ProtocolSession(WorkerMessage("register", worker_id="w", token=TOKEN))
    for line in data.split(b"\n"):
        before = session.state
        try:
            event = session.received(line)
        except IllegalTransitionError:
            expect(before is ProtocolSessionState.CLOSED, "an open session refuses a frame")
            continue
        expect(before is not ProtocolSessionState.CLOSED, "a closed session takes a frame")
        match event:
            case Registered(worker_id):
                expect(isinstance(worker_id, str), "an id that is no text")
                expect(session.state is ProtocolSessionState.REGISTERED, "not registered")
            case RegistrationRefusal(message):
                expect(TOKEN not in message and len(message) <= 600, "a refusal tells too much")
                expect(session.state is ProtocolSessionState.CLOSED, "not closed")
            case IgnoredFrame(kind, detail):
                expect(len(kind) <= 100 and len(detail) <= 1000, "an overlong text")
                expect(TOKEN not in detail or token_is_a_name(line), "the token in a text")
                expect(session.state is before, "what is ignored changes the state")
            case _:
                expect(before is ProtocolSessionState.REGISTERED, "an event too early")


TARGETS = (
    Target(
        name="codec",
        run=run_codec,
        seeds=SEEDS,
        words=WORDS,
        built=json_lines(TYPES, NAMES),
        share=120,
    ),
    Target(
        name="session",
        run=run_session,
        seeds=(b"\n".join(SEEDS[:1] + SEEDS[2:6]), b"\n".join(SEEDS[1:3]), b"\n".join(SEEDS)),
        words=WORDS,
        built=json_lines(TYPES, NAMES, most=5),
        share=200,
    ),
)
