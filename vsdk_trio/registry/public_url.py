"""The registry's address in its answers: the one that the caller itself has used.

Pure: what a request says goes in, a URL comes out. A proxy before the registry says by which
address it was asked (`Forwarded`, `X-Forwarded-*`); a caller that only
claims to come through a proxy gets its own claim back, which harms no other caller.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

_WS: Final = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
_DEFAULT_PORT: Final = {"ws": "80", "wss": "443"}
# What may stand in a URL there: no user, no path, nothing that ends a header.
_AUTHORITY: Final = re.compile(
    r"(?:[\w-]{1,63}(?:\.[\w-]{1,63}){0,9}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?", re.ASCII
)
_PREFIX: Final = re.compile(r"(?:/[\w.~-]{1,100}){1,10}", re.ASCII)
_PAIR: Final = re.compile(r'\s*(\w+)\s*=\s*(?:"([^"]*)"|([^\s;,"]*))\s*', re.ASCII)


def registry_url(
    scheme: str, host: str, headers: Mapping[str, str], *, public_url: str | None = None
) -> str:
    """The `ws://` or `wss://` URL of the registry for the sender of this request.

    With `ws`, because the published client turns `http` into `wss`.

    Args:
        scheme: by which the request came to us.
        host: the `Host` header, with the port.
        headers: its other headers, by names in lower case or that do not mind.
        public_url: the address in every answer; None: by the request.
    """
    if public_url is not None:
        own_scheme, _, rest = public_url.strip().partition("://")
        return f"{_WS[own_scheme.lower()]}://{rest.rstrip('/')}"
    forwarded = _forwarded(headers.get("forwarded", ""))
    proto = forwarded.get("proto") or _first(headers, "proto")
    chosen = _WS.get(proto.lower()) or _WS[scheme]
    authority = forwarded.get("host") or _first(headers, "host")
    if not _is_authority(authority):
        authority = host
    port = _first(headers, "port")
    has_port = re.search(r":\d+$", authority) is not None
    if not has_port and port != _DEFAULT_PORT[chosen] and _is_authority(f"{authority}:{port}"):
        authority += f":{port}"
    prefix = _first(headers, "prefix").rstrip("/")
    return f"{chosen}://{authority}{prefix if _PREFIX.fullmatch(prefix) else ''}"


def _is_authority(text: str) -> bool:
    if not _AUTHORITY.fullmatch(text):
        return False
    try:
        return (
            urlsplit(f"//{text}").port != 0
        )  # raises for a port that is too large, and for no address
    except ValueError:
        return False


def _first(headers: Mapping[str, str], name: str) -> str:
    """The value of the proxy that the caller has spoken to; further ones are nearer to us."""
    return headers.get(f"x-forwarded-{name}", "").partition(",")[0].strip()


def _forwarded(text: str) -> dict[str, str]:
    """The first element of `Forwarded`, RFC 7239."""
    pairs: dict[str, str] = {}
    end = 0
    while found := _PAIR.match(text, end):
        pairs[found[1].lower()] = found[2] if found[2] is not None else found[3]
        end = found.end()
        if text[end : end + 1] != ";":
            break
        end += 1
    return pairs
