"""Who may come in. Decides, and does nothing.

Any web page that is open in a browser on this machine can connect to a socket here, and would
hear the agent. A browser tells where its page comes from (`Origin`), so pages of this machine are
let in, and those that the options name.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from urllib.parse import parse_qs, urlsplit

import attrs

from ..._masking import peer_text
from ...http_server.access import is_local_name

_MOST_QUOTED = 100


@attrs.frozen
class Denial:
    """An HTTP status, and what to do about it."""

    status: int
    message: str


def refuse(
    path: str, *, host: str, origin: str | None, wanted_path: str, origins: Collection[str]
) -> Denial | None:
    """None for somebody who may come in, else why not.

    Arguments: `path`, `host` and `origin`, as the request has them; `origins`, as the options do.
    """
    if path.partition("?")[0] != wanted_path:
        return Denial(404, f"the room is at {wanted_path}")
    if origin is None:
        return None  # no browser, so nobody's page
    if "*" in origins or origin.lower() in {known.lower().rstrip("/") for known in origins}:
        return None
    if _is_page_of_this_machine(origin, host):
        return None
    quoted = peer_text(origin, most=_MOST_QUOTED)
    return Denial(
        403,
        f"pages from {quoted} may not connect; to let them, list it in "
        "RoomOptions(websocket=WebSocketConfig(origins=[...]))",
    )


def name_in(path: str) -> str:
    """The `name` that a client gives itself in the query, fit to be shown; empty for none."""
    names = parse_qs(path.partition("?")[2]).get("name", [""])
    return peer_text(names[0], most=_MOST_QUOTED)


def _is_page_of_this_machine(origin: str, host: str) -> bool:
    """Whether page and socket are both on a host that nobody else can give a name to.

    A name could be made to point here while the page that uses it is somebody else's (DNS
    rebinding); an address, or `localhost`, could not.
    """
    try:
        page, here = urlsplit(origin).hostname, urlsplit(f"//{host}").hostname
    except ValueError:
        return False
    if not page or not here or not is_local_name(page) or not is_local_name(here):
        return False
    return page == here or (_is_loopback(page) and _is_loopback(here))


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")
