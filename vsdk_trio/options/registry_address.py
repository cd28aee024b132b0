"""Where the registry is: the one place that decides between all who say so.

A leaf, and pure. The rule: the strongest source that says anything about it decides alone, so that
half of what one source says is never joined with half of another's. In a source, the address of
the registry comes before the two older names. Sources, strongest first: the argument of a call or
of a command, a flag, the environment, the agent's own options, the default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from ..errors import OptionsError
from .checks import QUOTED, is_quoted

VARIABLE: Final = "VSDK_TRIO_REGISTRY_URL"
FLAG: Final = "--registry"
OLDER_NAMES: Final = ("backend_url", "signaling_base_url")
"""The options that say the same, and that an address becomes: see `address_options`."""

_REST_SCHEME: Final = {"http": "http", "https": "https", "ws": "http", "wss": "https"}


@attrs.frozen
class Source:
    """What one source says: an `address` by the name of `origin`, or older `options`."""

    origin: str
    address: str | None = None
    options: Mapping[str, Any] = attrs.field(factory=dict)

    @classmethod
    def of_environment(cls, environ: Mapping[str, str]) -> Source:
        """What the variables say, the older ones included."""
        given = {
            name: text
            for name in OLDER_NAMES
            if (text := environ.get(f"VSDK_TRIO_{name.upper()}", "").strip())
        }
        return cls(VARIABLE, environ.get(VARIABLE, "").strip() or None, given)


def address_options(*sources: Source) -> dict[str, Any]:
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


def rest_address(*sources: Source, default: str) -> str:
    """The address for REST calls that the strongest source stands for, else `default`.

    A registry of one's own answers REST where its WebSocket is, so `ws://` becomes `http://`.

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
