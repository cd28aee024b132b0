"""Options as texts: what the environment and the command line say, read as an option's value.

A leaf. Knows the fields of an options class and how a text becomes a value of each; not which
class it is, what an option means, or which value wins. What no text can be has no place here:
an `ssl_context` (`ca_file` is its text).

The rules for variables, which docs/command-line.md has as a table: white space around a value does
not count; an empty one is not set; what Kubernetes sets for a Service is no option.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable as Function
from collections.abc import Iterator, Mapping
from enum import Enum, StrEnum
from types import UnionType
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

import attrs

from ..errors import OptionsError
from .checks import QUOTED, is_quoted, truth_of
from .keywords import unknown_name

ENVIRONMENT_PREFIX: Final = "VSDK_TRIO_"
# Variables with our prefix that are not options: each is read by the module that it is named after.
OTHER_VARIABLES: Final = frozenset({"TRANSPORT", "COOKIE", "REGISTRY_TOKEN", "REGISTRY_URL"})

# What Kubernetes and `docker --link` set for each Service, as far as a name can tell it.
_SERVICE_LINK: Final = re.compile(
    r"_SERVICE_HOST$|_SERVICE_PORT(?:_\w+)?$|_PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?$"
)
_SERVICE_URL: Final = re.compile(r"(?:tcp|udp|sctp)://")


@attrs.frozen(kw_only=True)
class TextOption:
    """One option that a text can give: its field, and the kind of value the text stands for."""

    field: attrs.Attribute[Any]
    kind: Any
    """`bool`, `int`, `float`, `str`, an enumeration, `Function`, or `dict`: JSON for a class."""

    @property
    def name(self) -> str:
        """What the option is called where one is made."""
        return str(self.field.alias)

    @property
    def variable(self) -> str:
        """The environment variable that gives it."""
        return ENVIRONMENT_PREFIX + self.name.upper()

    @property
    def is_secret(self) -> bool:
        """Whether it is kept out of everything that others can read, a command line included."""
        return not self.field.repr

    def read(self, origin: str, text: str) -> Any:
        """The value that `text` stands for; `origin` is what errors call it.

        Raises `OptionsError` for a text that stands for none. Whether the value makes sense is
        the business of the options class.
        """
        text = text.strip()
        if self.kind is bool:
            if isinstance(value := truth_of(text), str):
                raise OptionsError(f"{origin} must be true or false, got {text!r}")
            return value
        if isinstance(self.kind, type) and issubclass(self.kind, Enum):
            return text  # the class' own converter says what words there are
        if self.kind is dict:
            return _object(origin, text)
        if self.kind is Function:
            return _imported(origin, text)
        try:
            return self.kind(text)
        except ValueError:
            raise OptionsError(
                f"{origin} must be a number ({self.kind.__name__}), got {text!r}"
            ) from None


def text_options(cls: type) -> dict[str, TextOption]:
    """The options of `cls` that a text can give, by name, in their order."""
    return {option.name: option for option in _text_options(cls)}


def service_links(environ: Mapping[str, str]) -> list[str]:
    """The variables with our prefix that Kubernetes has set for a Service with such a name."""
    return [name for name, text in environ.items() if _is_service_link(name, text)]


def environment_values(cls: type, environ: Mapping[str, str]) -> dict[str, Any]:
    """The options of `cls` that the environment gives.

    Raises `OptionsError` for a variable with our prefix that names no option, and for a value
    that cannot be read.
    """
    known = {option.variable: option for option in _text_options(cls)}
    values: dict[str, Any] = {}
    for variable, text in environ.items():
        name = variable.removeprefix(ENVIRONMENT_PREFIX)
        if name == variable or name in OTHER_VARIABLES or not text.strip():
            continue
        if _is_service_link(variable, text):
            continue
        if (option := known.get(variable)) is None:
            raise unknown_name("the environment", variable, known)
        if is_quoted(text.strip()):
            raise OptionsError(f"{variable} {QUOTED}")
        values[option.name] = option.read(variable, text)
    return values


def _is_service_link(variable: str, text: str) -> bool:
    return variable.startswith(ENVIRONMENT_PREFIX) and bool(
        _SERVICE_LINK.search(variable)
        or (variable.endswith("_PORT") and _SERVICE_URL.match(text.strip()))
    )


def _text_options(cls: type) -> Iterator[TextOption]:
    hints = get_type_hints(cls, include_extras=False)
    for field in attrs.fields(cls):
        if (kind := _kind_of(hints.get(field.name), field)) is not None:
            yield TextOption(field=field, kind=kind)


def _kind_of(hint: Any, field: attrs.Attribute[Any]) -> Any:
    if get_origin(hint) is Literal:
        hint = type(get_args(hint)[0])
    if isinstance(field.default, StrEnum):
        return type(field.default)
    # The members of a union such as `float | None`; the hint itself where it is none.
    members = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    for kind in (bool, int, float, str):
        if kind in members:
            return kind
    for member in members:
        if get_origin(member) is Function:
            return Function
        if isinstance(member, type) and issubclass(member, Enum):
            return member
        if isinstance(member, type) and attrs.has(member):
            return dict
    return None


def _object(origin: str, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise OptionsError(f"{origin} must be a JSON object: {error}") from None
    if not isinstance(value, dict):
        raise OptionsError(f"{origin} must be a JSON object, got {text!r}")
    return value


def _imported(origin: str, text: str) -> Any:
    """The function `package.module:function`; of a class, an instance made without arguments."""
    module, _, name = text.partition(":")
    try:
        found: Any = importlib.import_module(module) if name else None
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        why = f": {error}" if name else ""
        raise OptionsError(
            f"{origin} must name a function as package.module:function, got {text!r}{why}"
        ) from None
    return found() if isinstance(found, type) else found
