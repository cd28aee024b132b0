"""How large and how deep a message may be, and what of Python fits into JSON at all.

Knows nothing of the message classes. No error text quotes a value, because any value may be a
token; names of fields are quoted, in paths.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, TypeAlias

from ..errors import WireError

MAX_MESSAGE_BYTES = 1 << 20
MAX_DEPTH = 32

_MAX_ERROR_CHARS = 500  # a path may hold keys as long as the message itself

_Where: TypeAlias = "tuple[_Where, str] | None"  # a path from its end; written out only on error


def wire_error(name: str, fault: str) -> WireError:
    """Return the error that says what is wrong with the message `name`, bounded in length."""
    text = f"{name}: {fault}"
    return WireError(text if len(text) <= _MAX_ERROR_CHARS else f"{text[:_MAX_ERROR_CHARS]}...")


def check_size(name: str, size: int) -> None:
    """Raise `WireError` where `size`, in bytes, is more than a message may have."""
    if size > MAX_MESSAGE_BYTES:
        raise wire_error(name, f"larger than {MAX_MESSAGE_BYTES} bytes")


def check_document(name: str, document: dict[str, Any]) -> None:
    """Raise `WireError` unless `document` is JSON within the bounds.

    Does not recurse, and ends on an object that contains itself.
    """
    todo: list[tuple[object, int, _Where]] = [(document, 1, None)]
    # A value takes a byte at least. A list that holds one list in many places has few values in
    # memory and astronomically many on the wire; this is what ends the walk over it.
    seen = 1
    while todo:
        value, depth, where = todo.pop()
        if isinstance(value, dict | list | tuple):
            if depth > MAX_DEPTH:
                raise _unfit(name, f"nesting deeper than {MAX_DEPTH}", where)
            seen += len(value)
            check_size(name, seen)
            todo.extend((item, depth + 1, (where, step)) for step, item in _items(value))
            if isinstance(value, dict) and any(type(key) is not str for key in value):
                raise _unfit(name, "a key that is not a str", where)
        elif (fault := _scalar_fault(value)) is not None:
            raise _unfit(name, fault, where)


def _items(value: dict[Any, Any] | list[Any] | tuple[Any, ...]) -> Iterable[tuple[str, object]]:
    if isinstance(value, dict):
        return ((f".{key}", item) for key, item in value.items())
    return ((f"[{index}]", item) for index, item in enumerate(value))


def _scalar_fault(value: object) -> str | None:
    match value:
        case None | str() | bool():
            return None
        case int():
            return None if -(2**63) <= value < 2**64 else "an integer beyond 64 bits"
        case float():
            return None if math.isfinite(value) else "a number that is not finite"
        case _:
            return f"a value of type {type(value).__name__}"


def _unfit(name: str, what: str, where: _Where) -> WireError:
    steps = []
    while where is not None:
        where, step = where
        steps.append(step)
    return wire_error(name, f"{what} does not fit into JSON here @ ${''.join(reversed(steps))}")
