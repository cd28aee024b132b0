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
import reprlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeAlias, TypeVar

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
    """An uncaught `OptionsError` of the body ends the program with one line and exit code 2.

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


_AS_TEXT: Final = "vsdk_trio_as_text"


def fail(owner: object, field: attrs.Attribute[Any], rule: str, value: str = "") -> OptionsError:
    """The error for a value that breaks a rule.

    Args:
        owner: The object that has the field.
        field: A field that takes texts is named as flags and variables name it: `option 'port'`.
            Any other is named as code does: `WebSocketConfig.port`.
        rule: What the value must be or do, such as "must be 0 to 65535".
        value: The value as the error shows it; empty for one that may be a secret.
    """
    name = f"{type(owner).__name__}.{field.name.lstrip('_')}"
    if _AS_TEXT in field.metadata:
        name = f"option {field.name!r}"
    return OptionsError(f"{name} {rule}{f', got {value}' if value else ''}")


def take_texts(_: type, fields: list[attrs.Attribute[Any]]) -> list[attrs.Attribute[Any]]:
    """For attrs' `field_transformer`: each field takes its value as a text, too."""
    return [
        field.evolve(converter=_taking_texts(field), metadata={**field.metadata, _AS_TEXT: True})
        for field in fields
    ]


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

    def __call__(self, owner: object, field: attrs.Attribute[Any], value: object) -> None:
        most = math.inf if self.maximum is None else self.maximum
        if type(value) is not int or not self.minimum <= value <= most:
            raise fail(owner, field, f"must be an integer {self._bounds()}", repr(value))

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

    def __call__(self, owner: object, field: attrs.Attribute[Any], value: object) -> None:
        good = isinstance(value, (int, float)) and not isinstance(value, bool)
        number = float(value) if good else math.nan  # type: ignore[arg-type]  # `good` says it is a number
        least = self.above if self.above is not None else -math.ulp(0.0)
        if not (math.isfinite(number) and least < number <= self.maximum):
            raise fail(owner, field, f"must be a number {self._bounds()}{self.unit}", repr(value))

    def _bounds(self) -> str:
        bounds = f"above {self.above:g}" if self.above is not None else "of at least 0"
        return bounds if self.maximum == math.inf else f"{bounds} and at most {self.maximum:g}"


def number(unit: str, *, above: float | None = None, maximum: float = math.inf) -> Number:
    """A finite number from 0 (or above `above`) to `maximum`."""
    return Number(unit, above, maximum)


@attrs.frozen
class Boolean:
    """True or False, and nothing that only looks like it."""

    def __call__(self, owner: object, field: attrs.Attribute[Any], value: object) -> None:
        if type(value) is not bool:
            raise fail(owner, field, "must be True or False", repr(value))


boolean: Final = Boolean()
_READERS: Final[dict[type, Callable[[str], Any]]] = {
    Integer: functools.partial(_number_or_text, int),
    Number: functools.partial(_number_or_text, float),
    Boolean: truth_of,
}


def text(owner: object, field: attrs.Attribute[Any], value: object) -> None:
    """A text with something in it."""
    if not isinstance(value, str) or not value.strip():
        raise fail(owner, field, "must be a text that is not empty", repr(value))


def module_names(owner: object, field: attrs.Attribute[Any], value: object) -> None:
    """Names that could be imported."""
    if not isinstance(value, tuple) or not all(
        isinstance(name, str) and all(part.isidentifier() for part in name.split("."))
        for name in value
    ):
        raise fail(
            owner, field, "must be names of modules, such as ['numpy', 'my.models']", repr(value)
        )


def is_callable(owner: object, field: attrs.Attribute[Any], value: object) -> None:
    """Anything that can be called."""
    if not callable(value):
        raise fail(owner, field, "must be callable", repr(value))


def instance(cls: type) -> Callable[..., None]:
    """An instance of `cls`."""

    def check(owner: object, field: attrs.Attribute[Any], value: object) -> None:
        if not isinstance(value, cls):
            raise fail(owner, field, f"must be a {cls.__name__}", repr(value))

    return check


@attrs.frozen
class OneOf:
    """One of the words that are `known`."""

    known: tuple[str, ...]

    def __call__(self, owner: object, field: attrs.Attribute[Any], value: object) -> None:
        if value not in self.known:
            raise fail(
                owner, field, f"must be one of {', '.join(map(repr, self.known))}", repr(value)
            )


def one_of(*known: str) -> OneOf:
    """One of these words."""
    return OneOf(known)


def token(owner: object, field: attrs.Attribute[Any], value: object) -> None:
    """A token, or a function that returns one."""
    # The value itself stays out of the message: it may be most of a secret.
    if not callable(value) and (not isinstance(value, str) or not value.strip()):
        kind = "an empty text" if isinstance(value, str) else type(value).__name__
        raise fail(owner, field, "must be a token or a function that returns one", kind)


def secret_word(owner: object, field: attrs.Attribute[Any], value: object) -> None:
    """A secret that fits into an HTTP header: visible ASCII characters without spaces."""
    # The value itself stays out of the message.
    if not isinstance(value, str) or not value or not all("!" <= c <= "~" for c in value):
        rule = "must be a text of letters, digits and punctuation, without spaces"
        raise fail(owner, field, f"{rule}: it is sent in an HTTP header")


Check: TypeAlias = Callable[[Any, "attrs.Attribute[Any]", Any], None]
LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")
"""Those that a room's logs may have."""


def has_type(*types: type, none: bool = False) -> Check:
    """A validator that the value is of one of `types`, or None where `none`; never quotes it."""
    wanted = " or ".join([kind.__name__ for kind in types] + ["None"] * none)

    def check(owner: object, field: attrs.Attribute[Any], value: object) -> None:
        if (value is None and none) or type(value) in types or _is_subclassed(value, types):
            return
        raise fail(owner, field, f"must be {wanted}", type(value).__name__)

    return check


def _is_subclassed(value: object, types: tuple[type, ...]) -> bool:
    # True is an int to isinstance, and would pass as a port or a number of seconds.
    return isinstance(value, types) and not isinstance(value, bool)


_has_number = has_type(int, float, none=True)
_has_dict = has_type(dict, none=True)


def check_seconds(owner: object, field: attrs.Attribute[Any], value: object) -> None:
    """A validator for a duration in seconds, or None for "never"."""
    _has_number(owner, field, value)
    if isinstance(value, (int, float)) and not 0 <= value < float("inf"):
        raise fail(owner, field, "must be >= 0", repr(value))


def log_levels(value: Any) -> Any:
    """A converter: one level's name, or a list of them, in capitals; else `OptionsError`."""
    if isinstance(value, (list, tuple)):
        return [log_level(level) for level in value]
    return log_level(value)


def log_level(value: object) -> str:
    """A converter: a level's name in capitals; raises `OptionsError` for any other value."""
    if isinstance(value, str) and value.upper() in LOG_LEVELS:
        return value.upper()
    raise OptionsError(
        f"a log level must be one of {', '.join(LOG_LEVELS)}, got {reprlib.repr(value)}"
    )


def check_headers(owner: object, field: attrs.Attribute[Any], value: object) -> None:
    """A validator for HTTP headers: a dict of texts, or None. The error never shows a value."""
    _has_dict(owner, field, value)
    for name, text in (value or {}).items():  # type: ignore[attr-defined]  # a dict by now
        if not (isinstance(name, str) and isinstance(text, str)):
            raise fail(owner, field, "must map str to str")


def check_port(owner: object, field: attrs.Attribute[Any], value: object) -> None:
    """A validator for a port of this machine; 0 takes a free one."""
    has_type(int)(owner, field, value)
    if isinstance(value, int) and not 0 <= value <= 65535:
        raise fail(owner, field, "must be 0 to 65535", str(value))


def check_path(owner: object, field: attrs.Attribute[Any], value: object) -> None:
    """A validator for the path of a URL, without a query."""
    has_type(str)(owner, field, value)
    if not str(value).startswith("/") or "?" in str(value):
        raise fail(owner, field, "must start with '/' and have no '?'", reprlib.repr(value))


def check_texts(owner: object, field: attrs.Attribute[Any], value: object) -> None:
    """A validator for a list of texts."""
    has_type(list)(owner, field, value)
    if not all(isinstance(text, str) for text in value):  # type: ignore[attr-defined]  # a list
        raise fail(owner, field, "must be a list of str")


def check_callback(owner: object, field: attrs.Attribute[Any], value: object) -> None:
    """A validator for a function, or None for none."""
    if value is not None and not callable(value):
        raise fail(owner, field, "must be callable or None", type(value).__name__)
