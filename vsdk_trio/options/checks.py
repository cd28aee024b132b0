"""Checks of option values, and errors that name the option, its owner and the value.

Used by `Options`, `RoomOptions` and the values inside them. A misspelt name is an error where it is
written, and the error names the nearest right one. A leaf.

A value may also be a text: surrounding white space does not count, an empty text means "not set",
and a number or a truth value may be written as one (`port="9000"`).
"""

from __future__ import annotations

import difflib
import functools
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import attrs

from ..errors import OptionsError

_Class = TypeVar("_Class", bound=type)


def unknown_name(owner: str, name: str, known: Iterable[str]) -> OptionsError:
    """An error that says that `owner` has no option `name`, and which known one is nearest."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return OptionsError(f"{owner} has no option {name!r}{hint}")


@contextmanager
def ends_in_one_line() -> Iterator[None]:
    """A wrong option of the body, where nobody catches it, ends the program by one line, code 2.

    Python would print a traceback, and end with 1, of which supervisors think that it may pass.
    """
    try:
        yield
    except OptionsError as error:
        # Imported late: job processes do without.
        from ..telemetry.logs.tracebacks import mask_tracebacks

        error.ends_program = True
        mask_tracebacks()
        raise


def helpful_init(cls: _Class) -> _Class:
    """Class decorator, applied above `attrs.define`: unknown keywords raise `OptionsError`."""
    # Through the metaclass-free route: replace `__init__` after attrs has made it, so that type
    # checkers still see the signature attrs generates.
    original: Callable[..., None] = cls.__init__  # type: ignore[misc]  # reading it off the class is the point
    known = dict.fromkeys(field.alias for field in attrs.fields(cls) if field.init)

    @functools.wraps(original)
    def checked(self: Any, /, *args: Any, **kwargs: Any) -> None:
        with ends_in_one_line():
            if not kwargs.keys() <= known.keys():
                name = next(name for name in kwargs if name not in known)
                raise unknown_name(type(self).__name__, name, known)
            original(self, *args, **kwargs)

    cls.__init__ = checked  # type: ignore[misc]  # see above
    return cls


_TRUTH: Final = {"1": True, "true": True, "yes": True, "on": True} | {
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}


def fail(field: attrs.Attribute[Any], expected: str, value: object) -> OptionsError:
    """The error for a value that is not what was `expected`."""
    return OptionsError(f"option {field.name!r} must be {expected}, got {value!r}")


def take_texts(_: type, fields: list[attrs.Attribute[Any]]) -> list[attrs.Attribute[Any]]:
    """For attrs' `field_transformer`: each field takes its value as a text, too."""
    return [field.evolve(converter=_taking_texts(field)) for field in fields]


def _taking_texts(field: attrs.Attribute[Any]) -> Callable[[Any], Any]:
    convert: Any = field.converter
    validator: Any = field.validator
    read = _READERS.get(type(getattr(validator, "validator", validator)))

    def take(value: Any) -> Any:
        if isinstance(value, str):
            value = value.strip()
            if not value and field.default is not attrs.NOTHING:
                value = field.default
            elif read is not None:
                value = read(value)
        return value if convert is None else convert(value)

    take.__annotations__ = {"value": field.type, "return": field.type}  # what `help()` shows
    return take


def is_quoted(text: str) -> bool:
    """Whether quotation marks stand around a text, as `docker run --env-file` leaves them there."""
    return len(text) > 1 and text[0] == text[-1] and text[0] in "'\""


QUOTED: Final = (
    "has quotation marks around it, which are part of it (docker run --env-file keeps them); "
    "leave them out"
)


def truth_of(text: str) -> bool | str:
    """What the text stands for; the text itself where that is neither true nor false."""
    return _TRUTH.get(text.lower(), text)


def _number_or_text(kind: type[int] | type[float], text: str) -> float | str:
    try:
        return kind(text)
    except ValueError:
        return text


@attrs.frozen
class Integer:
    """An integer from `minimum` to `maximum`, where there is one; no bool."""

    minimum: int
    maximum: int | None

    def __call__(self, _: object, field: attrs.Attribute[Any], value: object) -> None:
        most = math.inf if self.maximum is None else self.maximum
        if type(value) is not int or not self.minimum <= value <= most:
            raise fail(field, f"an integer {self._bounds()}", value)

    def _bounds(self) -> str:
        if self.maximum is None:
            return f"of at least {self.minimum}"
        return f"from {self.minimum} to {self.maximum}"


def integer(minimum: int, maximum: int | None = None) -> Integer:
    """An integer from `minimum` to `maximum`, where there is one; no bool."""
    return Integer(minimum, maximum)


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


@attrs.frozen
class Boolean:
    """True or False, and nothing that only looks like it."""

    def __call__(self, _: object, field: attrs.Attribute[Any], value: object) -> None:
        if type(value) is not bool:
            raise fail(field, "True or False", value)


boolean: Final = Boolean()
_READERS: Final[dict[type, Callable[[str], Any]]] = {
    Integer: functools.partial(_number_or_text, int),
    Number: functools.partial(_number_or_text, float),
    Boolean: truth_of,
}


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
