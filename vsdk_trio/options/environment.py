"""Option values from texts: environment variables, command-line flags, and the registry's address.

The strongest source that names the registry decides alone. Half of one source's address is never
joined with half of another's. Sources, strongest first: the argument of a call or command, a flag,
the environment, the agent's own options, the default. In one source, the address of the registry
comes before the two older names. A leaf.
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
from .checks import QUOTED, is_quoted, truth_of, unknown_name

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


def secret_in(environ: Mapping[str, str], variable: str) -> str:
    """The secret in a variable, without white space around it; "" where there is none.

    Raises:
        OptionsError: for quotation marks around it; they would be sent with it.
    """
    text = environ.get(variable, "").strip()
    if is_quoted(text):
        raise OptionsError(f"{variable} {QUOTED}")
    return text


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


VARIABLE: Final = "VSDK_TRIO_REGISTRY_URL"
FLAG: Final = "--registry"
OLDER_NAMES: Final = ("backend_url", "signaling_base_url")
"""The options that say the same, and that an address becomes: see `address_options`."""

_REST_SCHEME: Final = {"http": "http", "https": "https", "ws": "http", "wss": "https"}


@attrs.frozen
class AddressSource:
    """What one source says: an `address` by the name of `origin`, or older `options`."""

    origin: str
    address: str | None = None
    options: Mapping[str, Any] = attrs.field(factory=dict)

    @classmethod
    def of_environment(cls, environ: Mapping[str, str]) -> AddressSource:
        """What the variables say, the older ones included."""
        given = {
            name: text
            for name in OLDER_NAMES
            if (text := environ.get(f"VSDK_TRIO_{name.upper()}", "").strip())
        }
        return cls(VARIABLE, environ.get(VARIABLE, "").strip() or None, given)


def address_options(*sources: AddressSource) -> dict[str, Any]:
    """The options `signaling_base_url` and `backend_url` that the strongest source stands for.

    `http(s)://host[:port][/prefix]` is the base of the REST API; `ws(s)://` the registry itself.
    A `backend_url` of None takes the place of a weaker one. Empty where no source says anything.

    Args:
        sources: strongest first.

    Raises:
        OptionsError: for an address that is not one of those URLs.
    """
    for source in sources:
        if address := (source.address or "").strip():
            scheme = _checked_scheme(source.origin, address)
            if scheme.startswith("ws"):
                return {"backend_url": address}
            return {"signaling_base_url": address, "backend_url": None}
        given = {name: source.options[name] for name in OLDER_NAMES if source.options.get(name)}
        if given:
            return {"backend_url": None, **given}
    return {}


def rest_address(*sources: AddressSource, default: str) -> str:
    """The address for REST calls that the strongest source stands for, else `default`.

    A local registry answers REST where its WebSocket is, so `ws://` becomes `http://`.

    Args:
        sources: strongest first.
        default: where no source says anything.

    Raises:
        OptionsError: for an address that is no URL of a registry.
    """
    options = address_options(*sources)
    url = options.get("signaling_base_url") or options.get("backend_url")
    if url is None:
        return default
    scheme, _, rest = url.rpartition("://")
    return f"{_REST_SCHEME.get(scheme.lower(), scheme or 'https')}://{rest}"


def _checked_scheme(origin: str, address: str) -> str:
    if is_quoted(address):
        raise OptionsError(f"{origin} {QUOTED}")
    scheme, colon, rest = address.partition("://")
    if not colon or scheme.lower() not in _REST_SCHEME or not rest.strip("/"):
        raise OptionsError(
            f"{origin} must be the URL of a registry, such as http://127.0.0.1:8080 or "
            f"wss://registry.example.com, got {_shown(address)!r}"
        )
    return scheme.lower()


def _shown(address: str) -> str:
    """An address without the part that may be a password, and without its query."""
    return address.partition("?")[0].rpartition("@")[2]
