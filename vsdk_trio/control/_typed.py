"""Strict conversion between flat attrs classes and JSON objects, for the control channel only.

Pure. A job process must start light, so this is the standard library and attrs, not cattrs; in
return it knows only the few field types that frames have. It does not know what a frame is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar

import attrs

from ..errors import FrameError

_T = TypeVar("_T")


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return _is_int(value) or (isinstance(value, float) and math.isfinite(value))


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _is_list_of_strings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


# Keyed by the annotation's text, which is what attrs keeps under `from __future__ import
# annotations`: resolving the texts would cost a job process an import of the whole typing world.
_READERS: dict[str, tuple[str, Callable[[object], bool]]] = {
    "str": ("a string", lambda value: isinstance(value, str)),
    "str | None": ("a string or null", lambda value: value is None or isinstance(value, str)),
    "bool": ("a boolean", lambda value: isinstance(value, bool)),
    "int": ("an integer", _is_int),
    "float": ("a number", _is_number),
    "float | None": ("a number or null", lambda value: value is None or _is_number(value)),
    "dict[str, Any]": ("an object", _is_object),
    "dict[str, Any] | None": (
        "an object or null",
        lambda value: value is None or _is_object(value),
    ),
    "list[str]": ("a list of strings", _is_list_of_strings),
    "FinishedStatus": (
        "'completed', 'failed' or 'cancelled'",
        lambda value: isinstance(value, str) and value in ("completed", "failed", "cancelled"),
    ),
}


@attrs.frozen
class _Field:
    name: str
    is_required: bool
    expected: str
    accepts: Callable[[object], bool]


@cache
def _names(cls: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in attrs.fields(cls))


@cache
def _fields(cls: type[Any]) -> tuple[_Field, ...]:
    return tuple(
        _Field(field.name, field.default is attrs.NOTHING, *_READERS[str(field.type)])
        for field in attrs.fields(cls)
    )


def to_object(instance: Any) -> dict[str, Any]:
    """The fields of `instance` as a JSON object; nested objects are shared, not copied."""
    return {name: getattr(instance, name) for name in _names(type(instance))}  # type: ignore[arg-type]  # a class is hashable


def from_object(cls: type[_T], value: Mapping[str, Any], what: str) -> _T:
    """Build `cls` from a JSON object that is called `what` in errors.

    Keys that `cls` does not know are ignored: the other side may be newer. Raises `FrameError`
    where a field is missing or of the wrong type; the text names types and never a value, since
    values may be secrets.
    """
    known: dict[str, Any] = {}
    for field in _fields(cls):  # type: ignore[arg-type]  # a class is hashable
        name = field.name
        if name in value:
            if not field.accepts(value[name]):
                kind = type(value[name]).__name__
                raise FrameError(f"{what}: {name} must be {field.expected}, got {kind}")
            known[name] = value[name]
        elif field.is_required:
            raise FrameError(f"{what}: {name} is missing")
    return cls(**known)
