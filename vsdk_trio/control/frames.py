"""The frames of the control channel, and the only place that turns them into bytes and back.

One frame is one line of JSON: an object whose `type` names the frame. Everything a job needs
travels this way. Nothing travels by argv or environment, because a launcher has its own, and
because secrets have no place in either.

Pure. A job process must start light, so conversion uses the standard library and attrs, not cattrs;
in return it knows only the few field types that frames have.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from functools import cache
from types import NoneType
from typing import Any, Final, Literal, NoReturn, TypeAlias, TypeVar

import attrs

from ..errors import FrameError

MAX_FRAME_BYTES: Final = 4 << 20
"""The longest line, newline included, that either side sends or accepts."""

FinishedStatus: TypeAlias = Literal["completed", "failed", "cancelled"]


@attrs.frozen(kw_only=True)
class Hello:
    """Worker to runner, first: what this process is for."""

    entrypoint: dict[str, Any]
    """The entrypoint by reference, as `EntrypointRef.to_dict()` gives it."""
    initialize: dict[str, Any] | None = None
    """The same for `initialize_process_fnc`, where there is one."""
    agent_id: str = ""
    log_level: str = "INFO"
    shutdown_callback_timeout: float = 15.0
    """Seconds that each shutdown callback may take."""
    cookie: str = ""
    """What marks this job's processes; for launchers that do not carry the environment."""
    traces: bool = False
    """Whether its job will come with a trace: the process loads OpenTelemetry before."""
    live_options: bool = False
    """Whether the worker's context has room options that cannot travel.

    Only then the process makes a context of its own. A function that makes contexts may reserve,
    pay or use the network.
    """


@attrs.frozen(kw_only=True)
class Start:
    """Worker to runner: run this job, once, now."""

    job: dict[str, Any] = attrs.field(repr=False)
    """A `JobInfo` as `JobInfo.to_dict()` gives it; holds a token."""
    trace: dict[str, Any] = attrs.field(factory=dict)
    """The trace of which the job is a part, as W3C headers; empty for none."""


@attrs.frozen(kw_only=True)
class Stop:
    """Worker to runner: end politely; shutdown callbacks run and are given `reason`."""

    reason: str = ""


@attrs.frozen(kw_only=True)
class Ping:
    """Worker to runner: answer from the event loop, with the same `seq`."""

    seq: int


@attrs.frozen(kw_only=True)
class Ready:
    """Runner to worker: the entrypoint is loaded and initialized; a job may come."""

    pid: int
    """The runner's own pid, which behind a launcher is not the one the worker started."""
    recorded: bool = False
    """Loading the entrypoint's module has recorded a `WorkerJob`."""
    seconds: float = 0.0
    """How long it took, from the runner's first line."""
    stack_signal: int = 0
    """The signal that makes the process write its stacks to stderr; 0: none does."""


@attrs.frozen(kw_only=True)
class InitFailed:
    """Runner to worker: loading or initializing failed; the process is about to end."""

    error: str
    passes: bool = False
    """Another process may succeed: it was a shortage."""


@attrs.frozen(kw_only=True)
class Running:
    """Runner to worker: the entrypoint is about to run its first line."""


@attrs.frozen(kw_only=True)
class Joined:
    """Runner to worker: the room is joined.

    `playground` is its id where people may talk to the agent on the playground page.
    """

    participant_id: str = ""
    participant_name: str = ""
    playground: str = ""


@attrs.frozen(kw_only=True)
class Pong:
    """Runner to worker: the answer to `Ping`."""

    seq: int
    memory_mb: float | None = None
    """The memory of the job process in MiB; None if it is unknown."""
    lag_ms: float = 0.0
    """The longest step of the event loop since the last answer, in milliseconds."""


@attrs.frozen(kw_only=True)
class Finished:
    """Runner to worker, last: how the job ended. Callbacks have run."""

    status: FinishedStatus
    error: str | None = None


@attrs.frozen(kw_only=True)
class UnknownFrame:
    """A well-formed frame of a type that this version does not know. Never sent."""

    type: str


ToRunner: TypeAlias = Hello | Start | Stop | Ping
ToWorker: TypeAlias = Ready | InitFailed | Running | Joined | Pong | Finished
SendableFrame: TypeAlias = ToRunner | ToWorker
Frame: TypeAlias = SendableFrame | UnknownFrame

_CLASSES: Final[dict[str, type[SendableFrame]]] = {
    "hello": Hello,
    "start": Start,
    "stop": Stop,
    "ping": Ping,
    "ready": Ready,
    "init_failed": InitFailed,
    "running": Running,
    "joined": Joined,
    "pong": Pong,
    "finished": Finished,
}
_TYPES: Final = {cls: name for name, cls in _CLASSES.items()}


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


# Made once: `json.dumps` and `json.loads` build one for each call that has such arguments.
_encode_json: Final = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode
_decode_json: Final = json.JSONDecoder(parse_constant=_refuse_constant).decode


def encode_frame(frame: SendableFrame) -> bytes:
    """Return the frame as one line of JSON, newline included.

    Raises:
        FrameError: A field holds a value that JSON has no form for, or the line would be longer
            than `MAX_FRAME_BYTES`.
    """
    name = _TYPES[type(frame)]
    try:
        text = _encode_json({"type": name, **to_object(frame)})
    except (TypeError, ValueError, RecursionError) as error:
        raise FrameError(f"{name}: cannot be sent as JSON: {error}") from None
    line = text.encode("ascii") + b"\n"
    if len(line) > MAX_FRAME_BYTES:
        raise FrameError(f"{name}: {len(line)} bytes, more than {MAX_FRAME_BYTES}")
    return line


def decode_frame(line: bytes) -> Frame:
    """Read one line, with or without its newline.

    Types are strict. Unknown keys are ignored. An unknown type becomes an `UnknownFrame`.

    Raises:
        FrameError: The line is no frame. The text names types and positions, never a value.
    """
    if len(line) > MAX_FRAME_BYTES:
        raise FrameError(f"a line of {len(line)} bytes, more than {MAX_FRAME_BYTES}")
    try:
        value = _decode_json(str(line, "utf-8"))
    except (ValueError, RecursionError):
        # Without the cause: it carries the whole line, and with it a token.
        raise FrameError("not a line of JSON") from None
    if not isinstance(value, dict):
        raise FrameError(f"expected an object, got {type(value).__name__}")
    name = value.get("type")
    if not isinstance(name, str):
        raise FrameError("an object without a type")
    cls = _CLASSES.get(name)
    if cls is None:
        return UnknownFrame(type=name)
    return from_object(cls, value, name)


_T = TypeVar("_T")


# Keyed by the annotation's text, which is what attrs keeps under `from __future__ import
# annotations`: resolving the texts would cost a job process an import of the whole typing world.
# Types as JSON gives them, so exactly these: True is no integer.
_READERS: dict[str, tuple[str, tuple[type, ...]]] = {
    "str": ("a string", (str,)),
    "str | None": ("a string or null", (str, NoneType)),
    "bool": ("a boolean", (bool,)),
    "int": ("an integer", (int,)),
    "float": ("a number", (int, float)),
    "float | None": ("a number or null", (int, float, NoneType)),
    "dict[str, Any]": ("an object", (dict,)),
    "dict[str, Any] | None": ("an object or null", (dict, NoneType)),
    "list[str]": ("a list of strings", (list,)),
    "FinishedStatus": ("'completed', 'failed' or 'cancelled'", (str,)),
}


def _has_only_strings(value: Any) -> bool:
    return all(type(item) is str for item in value)


def _is_finished_status(value: Any) -> bool:
    return value in ("completed", "failed", "cancelled")


def _is_finite(value: Any) -> bool:
    return value is None or math.isfinite(value)


# What a type alone does not say.
_CHECKS: dict[str, Callable[[Any], bool]] = {
    "float": _is_finite,
    "float | None": _is_finite,
    "list[str]": _has_only_strings,
    "FinishedStatus": _is_finished_status,
}


@attrs.frozen
class _Field:
    name: str
    is_required: bool
    expected: str
    types: tuple[type, ...]
    check: Callable[[Any], bool] | None


@cache
def _names(cls: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in attrs.fields(cls))


@cache
def _fields(cls: type[Any]) -> tuple[_Field, ...]:
    return tuple(
        _Field(
            field.name,
            field.default is attrs.NOTHING,
            *_READERS[str(field.type)],
            _CHECKS.get(str(field.type)),
        )
        for field in attrs.fields(cls)
    )


def prepare(*classes: type[Any]) -> None:
    """Read the fields of `classes` now, so that the first frame of each class is as fast."""
    for cls in classes:
        _names(cls)  # type: ignore[arg-type]  # a class is hashable
        _fields(cls)  # type: ignore[arg-type]


def to_object(instance: Any) -> dict[str, Any]:
    """The fields of `instance` as a JSON object; nested objects are shared, not copied."""
    return {name: getattr(instance, name) for name in _names(type(instance))}  # type: ignore[arg-type]  # a class is hashable


def from_object(cls: type[_T], value: Mapping[str, Any], what: str) -> _T:
    """Build an instance of `cls` from a JSON object.

    Keys that `cls` does not know are ignored: the other side may be newer.

    Args:
        cls: A flat attrs class.
        value: The object.
        what: Its name in errors.

    Raises:
        FrameError: A field is missing or of the wrong type. The text names types and never a value,
            because values may be secrets.
    """
    known: dict[str, Any] = {}
    for field in _fields(cls):  # type: ignore[arg-type]  # a class is hashable
        name = field.name
        if name in value:
            item = value[name]
            if type(item) not in field.types or (field.check and not field.check(item)):
                kind = type(item).__name__
                raise FrameError(f"{what}: {name} must be {field.expected}, got {kind}")
            known[name] = item
        elif field.is_required:
            raise FrameError(f"{what}: {name} is missing")
    return cls(**known)


@attrs.frozen(kw_only=True)
class JobInfo:
    """One job, as data that can travel. Read-only for user code, by way of `JobContext.job`."""

    job_id: str
    room_id: str = ""
    room_name: str = ""
    job_type: str = ""
    agent_id: str = ""
    namespace: str = ""
    worker_id: str = ""
    url: str = ""
    token: str = attrs.field(default="", repr=False)
    room_options: dict[str, Any] = attrs.field(factory=dict, repr=False)
    """The effective room options, in wire form; may hold a token."""
    metadata: dict[str, Any] = attrs.field(factory=dict)
    permissions: dict[str, Any] = attrs.field(factory=dict)
    wait: bool = False
    """Report the job as running only once its room is joined."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON object for `Start.job`."""
        return to_object(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> JobInfo:
        """Read `Start.job`; unknown keys are ignored. Raises `FrameError` for wrong types."""
        return from_object(cls, value, "job")


prepare(*_TYPES, JobInfo)
