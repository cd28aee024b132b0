"""Between messages and text frames: the only place that knows their JSON.

Strict about types, tolerant of what it does not know: unknown fields are ignored, a message of an
unknown type is an `Unknown`. Both ways are bounded in size and depth. Knows no order of messages
and no I/O. No error text quotes a value, because any value may be a token.
"""

from __future__ import annotations

import enum
import functools
import math
from collections.abc import Callable
from types import NoneType, UnionType
from typing import Any, Final, TypeAlias, TypeVar, Union, get_args, get_origin

import attrs
import orjson
from cattrs import (
    BaseValidationError,
    Converter,
    IterableValidationError,
    IterableValidationNote,
    transform_error,
)

from .._masking import peer_text
from ..errors import WireError
from .messages import (
    MAX_MESSAGE_BYTES,
    AvailabilityRequest,
    AvailabilityResponse,
    JobAssignment,
    JobTermination,
    JobUpdate,
    JsonObject,
    ServerMessage,
    UpdateJobStatus,
    WireMessage,
    WorkerMessage,
    WorkerPing,
    WorkerPong,
)

MAX_DEPTH = 32

_MAX_ERROR_CHARS = 500  # a path may hold keys as long as the message itself

_Container: TypeAlias = dict[Any, Any] | list[Any] | tuple[Any, ...]
# A path from its end: keys and indices. Written out only for an error.
_Where: TypeAlias = "tuple[_Where, str | int] | None"


def wire_error(name: str, fault: str) -> WireError:
    """Return the error that says what is wrong with the message `name`, on one bounded line."""
    return WireError(peer_text(f"{name}: {fault}", most=_MAX_ERROR_CHARS))


def check_size(name: str, size: int) -> None:
    """Raise `WireError` where `size`, in bytes, is more than a message may have."""
    if size > MAX_MESSAGE_BYTES:
        raise _too_large(name)


def check_document(name: str, document: dict[str, Any]) -> None:
    """Raise `WireError` unless `document` is JSON within the bounds.

    Does not recurse, and ends on an object that contains itself.
    """
    todo: list[tuple[_Container, int, _Where]] = [(document, 1, None)]
    # A value takes a byte at least. A list that holds one list in many places has few values in
    # memory and astronomically many on the wire; this is what ends the walk over it.
    seen = 1
    while todo:
        container, depth, where = todo.pop()
        if depth > MAX_DEPTH:
            raise _unfit(name, f"nesting deeper than {MAX_DEPTH}", where)
        seen += len(container)
        if seen > MAX_MESSAGE_BYTES:
            raise _too_large(name)
        is_object = isinstance(container, dict)
        steps = container.items() if isinstance(container, dict) else enumerate(container)
        for step, value in steps:
            if is_object and type(step) is not str:
                raise _unfit(name, "a key that is not a str", where)
            # Without a call for what most values are: this is on the way to each job's start.
            kind = type(value)
            if kind is str or kind is bool or value is None:
                continue
            if isinstance(value, (dict, list, tuple)):
                todo.append((value, depth + 1, (where, step)))
            elif (fault := _scalar_fault(value)) is not None:
                raise _unfit(name, fault, (where, step))


def _scalar_fault(value: object) -> str | None:
    if value is None or isinstance(value, (str, bool)):
        return None
    if isinstance(value, int):
        return None if -(2**63) <= value < 2**64 else "an integer beyond 64 bits"
    if isinstance(value, float):
        return None if math.isfinite(value) else "a number that is not finite"
    return f"a value of type {type(value).__name__}"


def _too_large(name: str) -> WireError:
    return wire_error(name, f"larger than {MAX_MESSAGE_BYTES} bytes")


def _unfit(name: str, what: str, where: _Where) -> WireError:
    steps = []
    while where is not None:
        where, step = where
        steps.append(f".{step}" if isinstance(step, str) else f"[{step}]")
    return wire_error(name, f"{what} does not fit into JSON here @ ${''.join(reversed(steps))}")


__all__ = [
    "MAX_DEPTH",
    "FromRegistry",
    "FromWorker",
    "Unknown",
    "decode_as",
    "decode_from_registry",
    "decode_from_worker",
    "encode",
]


@attrs.frozen(kw_only=True)
class Unknown:
    """A well-formed message of a type this version does not know; `raw` is all of it."""

    type: str
    raw: JsonObject = attrs.field(repr=False)


_KnownFromRegistry: TypeAlias = (
    ServerMessage | AvailabilityRequest | JobAssignment | JobTermination | WorkerPong
)
_KnownFromWorker: TypeAlias = WorkerMessage | AvailabilityResponse | JobUpdate | WorkerPing
FromRegistry: TypeAlias = _KnownFromRegistry | Unknown
FromWorker: TypeAlias = _KnownFromWorker | Unknown

_FROM_REGISTRY: Final[dict[str, type[_KnownFromRegistry]]] = {
    "register": ServerMessage,
    "availability_request": AvailabilityRequest,
    "job_assignment": JobAssignment,
    "job_termination": JobTermination,
    "pong": WorkerPong,
}
_FROM_WORKER: Final[dict[str, type[_KnownFromWorker]]] = {
    "register": WorkerMessage,
    "status_update": WorkerMessage,
    "availability_response": AvailabilityResponse,
    "job_update": JobUpdate,
    "ping": WorkerPing,
}
_ABOUT_A_JOB: Final = (
    AvailabilityRequest,
    AvailabilityResponse,
    JobAssignment,
    JobTermination,
    JobUpdate,
    UpdateJobStatus,
)

_AnyMessage = TypeVar("_AnyMessage", bound=WireMessage)
_Hook: TypeAlias = Callable[[Any, Any], Any]


def encode(message: WireMessage, *, only: frozenset[str] | None = None) -> str:
    """Return the text frame for `message`; fields that are None are left off.

    Args:
        message: The message.
        only: The names of the fields that may go out, for a peer that accepts no others.

    Raises:
        WireError: The message is too large, too deep, or holds a value that JSON cannot.
    """
    document = message.dict()
    if only is not None:
        document = {name: value for name, value in document.items() if name in only}
    name = _name_of(document, type(message))
    check_document(name, document)
    try:
        frame = orjson.dumps(document)
    except TypeError as error:  # rare enough not to look for: lone surrogates, subclasses of float
        raise wire_error(name, str(error)) from None
    check_size(name, len(frame))
    return frame.decode()


def decode_from_registry(text: str | bytes) -> FromRegistry:
    """Return the message that a registry sent. Raises `WireError` where it is malformed."""
    type_name, raw = _typed_object(text)
    cls = _FROM_REGISTRY.get(type_name)
    return Unknown(type=type_name, raw=raw) if cls is None else _structure(raw, cls)


def decode_from_worker(text: str | bytes) -> FromWorker:
    """Return the message that a worker sent. Raises `WireError` where it is malformed."""
    type_name, raw = _typed_object(text)
    cls = _FROM_WORKER.get(type_name)
    return Unknown(type=type_name, raw=raw) if cls is None else _structure(raw, cls)


def decode_as(cls: type[_AnyMessage], text: str | bytes) -> _AnyMessage:
    """Return the `cls` in `text`, which need not name a type, as the reference's updates do not.

    A status that no member of its enum stands for stays a str. Raises `WireError` where the text
    is malformed.
    """
    return _structure(_parse(text), cls)


def _parse(text: str | bytes) -> JsonObject:
    """Return the object that is `text`, within the bounds."""
    # Has at least as many bytes as characters, so a giant one is refused before it is encoded.
    check_size("frame", len(text))
    try:
        frame = text.encode() if isinstance(text, str) else text
        check_size("frame", len(frame))
        raw = orjson.loads(frame)
    except UnicodeEncodeError:
        raise wire_error("frame", "not JSON: lone surrogates") from None
    except orjson.JSONDecodeError as error:
        # `from None`: the error carries the whole document along, tokens included.
        raise wire_error("frame", f"not JSON: {error}") from None
    if not isinstance(raw, dict):
        raise wire_error("frame", f"expected an object, got {type(raw).__name__} @ $")
    check_document(_name_of(raw, WireMessage), raw)
    return raw


def _typed_object(text: str | bytes) -> tuple[str, JsonObject]:
    raw = _parse(text)
    type_name = raw.get("type")
    if not isinstance(type_name, str):
        raise wire_error("frame", f"expected str, got {type(type_name).__name__} @ $.type")
    return type_name, raw


def _structure(raw: JsonObject, cls: type[_AnyMessage]) -> _AnyMessage:
    # An explicit null is as good as a missing field: whatever may be None is so by default.
    given = {name: value for name, value in raw.items() if value is not None}
    try:
        message = _converter().structure(given, cls)
    except BaseValidationError as error:
        faults = transform_error(error, format_exception=_describe)
        raise wire_error(_name_of(raw, cls), "; ".join(faults)) from None
    if issubclass(cls, _ABOUT_A_JOB) and not given.get("job_id"):
        raise wire_error(_name_of(raw, cls), "expected a job id, got none @ $.job_id")
    return message


def _name_of(raw: JsonObject, cls: type[WireMessage]) -> str:
    """What to call a message in an error: its type, else its class."""
    type_name = raw.get("type")
    return type_name if isinstance(type_name, str) else cls.__name__


class _MismatchError(Exception):
    """A value is not of its field's type; the text names both and quotes neither."""


def _mismatch(expected: str, value: object) -> _MismatchError:
    return _MismatchError(f"expected {expected}, got {type(value).__name__}")


def _describe(fault: BaseException, _: type | None) -> str:
    return "required field missing" if isinstance(fault, KeyError) else str(fault)


@functools.cache
def _converter() -> Converter:
    """The one converter, made on first use. By itself cattrs takes "5" for 5; the hooks do not."""
    converter = Converter()
    for kind, accepted in ((str, (str,)), (int, (int,)), (bool, (bool,)), (float, (float, int))):
        converter.register_structure_hook(kind, _scalar_hook(kind, accepted))
    converter.register_structure_hook_func(_is_object, _structure_object)
    converter.register_structure_hook_factory(_is_array, _array_hook)
    converter.register_structure_hook_factory(_is_optional, _optional_hook)
    converter.register_structure_hook_factory(_is_open_enum, _open_enum_hook)
    return converter


def _scalar_hook(kind: type, accepted: tuple[type, ...]) -> _Hook:
    def structure(value: Any, _: Any) -> Any:
        if type(value) not in accepted:  # not isinstance: a bool is not an int on the wire
            raise _mismatch(kind.__name__, value)
        return kind(value)

    return structure


def _is_object(annotation: Any) -> bool:
    return get_origin(annotation) is dict


def _structure_object(value: Any, _: Any) -> Any:
    if not isinstance(value, dict):
        raise _mismatch("an object", value)
    return value


def _is_array(annotation: Any) -> bool:
    return get_origin(annotation) is list


def _array_hook(annotation: Any, converter: Converter) -> _Hook:
    (element,) = get_args(annotation)
    structure_element = converter.get_structure_hook(element)

    def structure(value: Any, _: Any) -> Any:
        if not isinstance(value, list):
            raise _mismatch("an array", value)
        items = []
        for index, item in enumerate(value):
            try:
                items.append(structure_element(item, element))
            except _MismatchError as fault:
                # The first one ends it: a frame has room for half a million of them.
                fault.add_note(IterableValidationNote("", index, element))
                # (Of cattrs' two constructors, pyright reads the one that is not annotated.)
                raise IterableValidationError("array", [fault], list) from None  # pyright: ignore[reportCallIssue]
        return items

    return structure


def _members(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else ()


def _is_optional(annotation: Any) -> bool:
    return NoneType in _members(annotation)


def _optional_hook(annotation: Any, converter: Converter) -> _Hook:
    (kind,) = (member for member in _members(annotation) if member is not NoneType)
    structure_kind = converter.get_structure_hook(kind)
    # None never comes here: `_structure` takes it for a missing field.
    return lambda value, _: structure_kind(value, kind)


def _is_open_enum(annotation: Any) -> bool:
    members = _members(annotation)
    return str in members and any(_is_enum(member) for member in members)


def _is_enum(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, enum.Enum)


def _open_enum_hook(annotation: Any, converter: Converter) -> _Hook:
    (members,) = (member for member in _members(annotation) if _is_enum(member))
    known = {member.value: member for member in members}
    structure_str = converter.get_structure_hook(str)

    def structure(value: Any, _: Any) -> Any:
        word = structure_str(value, str)
        return known.get(word, word)

    return structure
