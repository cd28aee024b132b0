"""The frames of the control channel, and the only place that turns them into bytes and back.

Pure. One frame is one line of JSON: an object whose `type` names the frame. Everything a job
needs travels this way and nothing by argv or environment, because behind a launcher those belong
to somebody else, and because secrets have no place in either. This module does not know who
sends what when.
"""

from __future__ import annotations

import json
from typing import Any, Final, Literal, NoReturn, TypeAlias

import attrs

from ..errors import FrameError
from ._typed import from_object, prepare, to_object

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
    """Whether its job will come with a trace: what that takes is loaded beforehand."""
    live_options: bool = False
    """Whether the worker's context has room options that cannot travel: the process makes its own.

    Else it makes none: a function that makes contexts may reserve, pay or ask the network.
    """


@attrs.frozen(kw_only=True)
class Start:
    """Worker to runner: run this job, once, now."""

    job: dict[str, Any] = attrs.field(repr=False)
    """A `JobInfo` as `JobInfo.to_dict()` gives it; holds a token."""
    trace: dict[str, Any] = attrs.field(factory=dict)
    """The trace that the job is a part of, as W3C headers; empty for none."""


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
    """What the job process occupies, in MiB, where the platform tells."""
    lag_ms: float = 0.0
    """How late the event loop was, at worst, since the last answer."""


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
prepare(*_TYPES)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


# Made once: `json.dumps` and `json.loads` build one for each call that has such arguments.
_encode_json: Final = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode
_decode_json: Final = json.JSONDecoder(parse_constant=_refuse_constant).decode


def encode_frame(frame: SendableFrame) -> bytes:
    """One line of JSON, newline included.

    Raises `FrameError` where a field holds what JSON has no form for, or the line would be longer
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

    Types are strict, unknown keys are ignored, an unknown type comes out as `UnknownFrame`.
    Raises `FrameError` for anything else; its text names types and positions, never a value.
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
