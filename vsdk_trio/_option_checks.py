"""The checks of option values: each is an attrs validator whose error names option and value.

A leaf.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import attrs

from .errors import OptionsError


def fail(field: attrs.Attribute[Any], expected: str, value: object) -> OptionsError:
    """The error for a value that is not what was `expected`."""
    return OptionsError(f"option {field.name!r} must be {expected}, got {value!r}")


def integer(minimum: int, maximum: int | None = None) -> Callable[..., None]:
    """An integer from `minimum` to `maximum`, where there is one; no bool."""
    bounds = f"of at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"

    def check(_: object, field: attrs.Attribute[Any], value: object) -> None:
        if type(value) is not int or value < minimum or (maximum is not None and value > maximum):
            raise fail(field, f"an integer {bounds}", value)

    return check


@attrs.frozen
class Number:
    """A finite number from 0 (or above `above`) to `maximum`; `unit` as errors show it."""

    unit: str
    above: float | None
    maximum: float

    def __call__(self, _: object, field: attrs.Attribute[Any], value: object) -> None:
        good = isinstance(value, (int, float)) and not isinstance(value, bool)
        number = float(value) if good else math.nan  # type: ignore[arg-type]  # `good` says it is a number
        least = self.above if self.above is not None else -math.ulp(0.0)
        if not (math.isfinite(number) and least < number <= self.maximum):
            raise fail(field, f"a number {self._bounds()}{self.unit}", value)

    def _bounds(self) -> str:
        bounds = f"above {self.above:g}" if self.above is not None else "of at least 0"
        return bounds if self.maximum == math.inf else f"{bounds} and at most {self.maximum:g}"


def number(unit: str, *, above: float | None = None, maximum: float = math.inf) -> Number:
    """A finite number from 0 (or above `above`) to `maximum`."""
    return Number(unit, above, maximum)


def boolean(_: object, field: attrs.Attribute[Any], value: object) -> None:
    """True or False, and nothing that only looks like it."""
    if type(value) is not bool:
        raise fail(field, "True or False", value)


def text(_: object, field: attrs.Attribute[Any], value: object) -> None:
    """A text with something in it."""
    if not isinstance(value, str) or not value.strip():
        raise fail(field, "a text that is not empty", value)


def module_names(_: object, field: attrs.Attribute[Any], value: object) -> None:
    """Names that could be imported."""
    if not isinstance(value, tuple) or not all(
        isinstance(name, str) and all(part.isidentifier() for part in name.split("."))
        for name in value
    ):
        raise fail(field, "names of modules, such as ['numpy', 'my.models']", value)


def is_callable(_: object, field: attrs.Attribute[Any], value: object) -> None:
    """Anything that can be called."""
    if not callable(value):
        raise fail(field, "callable", value)


def instance(cls: type) -> Callable[..., None]:
    """An instance of `cls`."""

    def check(_: object, field: attrs.Attribute[Any], value: object) -> None:
        if not isinstance(value, cls):
            raise fail(field, f"a {cls.__name__}", value)

    return check


@attrs.frozen
class OneOf:
    """One of the words that are `known`."""

    known: tuple[str, ...]

    def __call__(self, _: object, field: attrs.Attribute[Any], value: object) -> None:
        if value not in self.known:
            raise fail(field, f"one of {', '.join(map(repr, self.known))}", value)


def one_of(*known: str) -> OneOf:
    """One of these words."""
    return OneOf(known)


def token(_: object, field: attrs.Attribute[Any], value: object) -> None:
    """A token, or a function that returns one."""
    # The value itself stays out of the message: it may be most of a secret.
    if not callable(value) and (not isinstance(value, str) or not value.strip()):
        kind = "an empty text" if isinstance(value, str) else type(value).__name__
        raise OptionsError(
            f"option {field.name!r} must be a token or a function that returns one, got {kind}"
        )


def secret_word(_: object, field: attrs.Attribute[Any], value: object) -> None:
    """A secret that fits into an HTTP header: visible ASCII characters without spaces."""
    # The value itself stays out of the message.
    if not isinstance(value, str) or not value or not all("!" <= c <= "~" for c in value):
        raise OptionsError(
            f"option {field.name!r} must be a text of letters, digits and punctuation, without "
            "spaces: it is sent in an HTTP header"
        )
