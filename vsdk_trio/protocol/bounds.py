"""How large and how deep a message may be, and what of Python fits into JSON at all.

Knows nothing of the message classes. No error text quotes a value, because any value may be a
token; names of fields are quoted, in paths.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

from .._masking import peer_text
from ..errors import WireError

MAX_MESSAGE_BYTES = 1 << 20
MAX_DEPTH = 32

_MAX_ERROR_CHARS = 500  # a path may hold keys as long as the message itself

_Container: TypeAlias = dict[Any, Any] | list[Any] | tuple[Any, ...]
# A path from its end: keys and indices. Written out only when there is an error to be told.
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
