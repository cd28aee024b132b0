"""Strict conversion between flat attrs classes and JSON objects, for the control channel only.

Pure. A job process must start light, so this is the standard library and attrs, not cattrs; in
return it knows only the few field types that frames have. It does not know what a frame is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache
from types import NoneType
from typing import Any, TypeVar

import attrs

from ..errors import FrameError

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
    """Look at `classes` now: the first of each to come may be on the way to a job's first line."""
    for cls in classes:
        _names(cls)  # type: ignore[arg-type]  # a class is hashable
        _fields(cls)  # type: ignore[arg-type]


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
            item = value[name]
            if type(item) not in field.types or (field.check and not field.check(item)):
                kind = type(item).__name__
                raise FrameError(f"{what}: {name} must be {field.expected}, got {kind}")
            known[name] = item
        elif field.is_required:
            raise FrameError(f"{what}: {name} is missing")
    return cls(**known)
