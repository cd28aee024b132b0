"""Access to HTTP: peers on this machine and holders of the token; never a foreign web page.

Decides, and does nothing. Knows what a request says of its sender, not which resource it wants.

That a peer is on this machine says little where it is a browser: any page that is open in it can
send requests here. Such a request tells where it comes from (`Origin`, `Sec-Fetch-Site`), unless
the page's name was made to point here (DNS rebinding); then the name is in `Host`. A proxy on this
machine is a peer like any other, and speaks for any client: its headers about that grant nothing,
and that it says so takes the rights of a local peer away.
"""

from __future__ import annotations

import hmac
import ipaddress
import socket
from collections.abc import Mapping
from typing import Final

import attrs

from .._masking import cut

_FORWARDED: Final = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
_MAX_QUOTED: Final = 100


@attrs.frozen(kw_only=True)
class Requester:
    """What a request says of its sender.

    `peer` is the address at the other end of the socket, `host` the name that was asked for.
    """

    peer: str
    host: str
    scheme: str = "http"
    method: str = "GET"
    authorization: str | None = attrs.field(default=None, repr=False)
    origin: str | None = None
    fetch_site: str | None = None
    fetch_mode: str | None = None
    was_forwarded: bool = False

    @classmethod
    def of(cls, peer: str, scheme: str, method: str, headers: Mapping[str, str]) -> Requester:
        """From a request's headers, whose names are in lower case or do not mind."""
        return cls(
            peer=peer,
            host=headers.get("host", ""),
            scheme=scheme,
            method=method,
            authorization=headers.get("authorization"),
            origin=headers.get("origin"),
            fetch_site=headers.get("sec-fetch-site"),
            fetch_mode=headers.get("sec-fetch-mode"),
            was_forwarded=any(name in headers for name in _FORWARDED),
        )

    @property
    def is_local(self) -> bool:
        """Is the other end of the socket on this machine?"""
        try:
            address = ipaddress.ip_address(self.peer)
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return (mapped or address).is_loopback


@attrs.frozen
class AccessDenial:
    """A no: 401 where a token would help, else 403; `message` says what to do."""

    status: int
    message: str


def deny_stranger(
    requester: Requester, token: str | None, *, how_to_set: str
) -> AccessDenial | None:
    """None for a peer on this machine and for a holder of `token`; otherwise the refusal.

    Args:
        requester: The sender of the request.
        token: The token that grants access; None if there is none.
        how_to_set: How to set a token, for the text of a refusal.
    """
    if token is not None and requester.authorization is not None:
        if is_token(requester.authorization, token):
            return None
        return AccessDenial(401, "the token is wrong")
    if not requester.is_local:
        return _unknown("only peers on this machine are answered here", token, how_to_set)
    if requester.was_forwarded:
        text = "this request came through a proxy, so its sender is not known to be on this machine"
        return _unknown(text, token, how_to_set)
    return deny_web_page(requester)


def deny_web_page(requester: Requester) -> AccessDenial | None:
    """None, or the reason for a no: the request was made by a web page from somewhere else."""
    if requester.is_local and not is_local_name(requester.host):
        name = cut(requester.host, _MAX_QUOTED)
        return AccessDenial(
            403,
            f"asked for by the name {name!r}, which a web page may have made "
            "point here; ask for http://127.0.0.1 or http://localhost, or use a token",
        )
    own = f"{requester.scheme}://{requester.host}".lower()
    if requester.origin is not None and requester.origin.lower() != own:
        return AccessDenial(
            403, f"web pages from {cut(requester.origin, _MAX_QUOTED)!r} are not answered here"
        )
    follows_a_link = requester.method in ("GET", "HEAD") and requester.fetch_mode == "navigate"
    if requester.fetch_site in ("cross-site", "same-site") and not follows_a_link:
        return AccessDenial(403, "web pages from elsewhere are not answered here")
    return None


def is_token(authorization: str | None, token: str) -> bool:
    """Is this the token, with or without `Bearer `? In constant time."""
    presented = authorization or ""
    if presented[:7].lower() == "bearer ":
        presented = presented[7:]
    return hmac.compare_digest(presented.strip().encode(), token.encode())


def is_local_name(host: str) -> bool:
    """Whether no stranger can make this name (with or without a port) point to this machine.

    True for addresses, for names without a dot (no host on the internet can have one), for names
    below `localhost`, and for the machine's own name.
    """
    name = host.lower()
    if name.startswith("["):
        name = name[1:].partition("]")[0]
    elif name.count(":") <= 1:
        name = name.partition(":")[0]
    name = name.removesuffix(".")
    try:
        ipaddress.ip_address(name)
    except ValueError:
        is_plain = name != "" and "." not in name
        return is_plain or name.endswith(".localhost") or name == socket.gethostname().lower()
    return True


def _unknown(why: str, token: str | None, how_to_set: str) -> AccessDenial:
    if token is not None:
        return AccessDenial(401, f"{why}; others need the token: Authorization: Bearer ...")
    return AccessDenial(403, f"{why}; to be answered elsewhere, set a token: {how_to_set}")
