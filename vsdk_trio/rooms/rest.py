"""Calls the VideoSDK REST API: creates a room for a job that was not given one, has one recorded.

On the standard library's HTTP client in a thread, imported when it is needed: a job process must
start light, and does this at most a few times. Must not know jobs or tokens' origins.
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import trio

from ..errors import ApiError
from ..system.threads import run_in_thread

if TYPE_CHECKING:
    import urllib.request

RoomCreator: TypeAlias = Callable[[str, str], Awaitable[str]]
"""Called with a token and a base URL; returns the new room's id."""

TRUST_VARIABLE = "REQUESTS_CA_BUNDLE"
"""The environment variable that names a file of authorities to trust instead of the usual ones."""

REQUEST_SECONDS = 15.0
_MAX_ANSWER_BYTES = 1 << 16
_CREATE = "create a room"


async def create_room(token: str, signaling_base_url: str) -> str:
    """Create a room and return its id: `POST {api}/v2/rooms`.

    `signaling_base_url` may have a scheme; it is https otherwise. Raises `ApiError` where the call
    fails, is answered with junk, or takes more than 15 s. Cancelled, it leaves the call to a
    thread that ends by itself; the room may exist then.
    """
    url = _url_of(signaling_base_url, "/v2/rooms")
    return _room_id(await _call(_CREATE, url, token, None), url)


def create_room_here(token: str, signaling_base_url: str) -> str:
    """The same, blocking the calling thread: for one that is not Trio's."""
    url = _url_of(signaling_base_url, "/v2/rooms")
    return _room_id(_post(_CREATE, url, token, None), url)


async def post(token: str, signaling_base_url: str, path: str, body: dict[str, Any]) -> None:
    """`POST {api}{path}` with an object; any successful answer will do.

    Raises `ApiError`, and is cancelled, as `create_room`.
    """
    url = _url_of(signaling_base_url, path)
    await _call("ask for it", url, token, json.dumps(body).encode())


def _url_of(signaling_base_url: str, path: str) -> str:
    scheme = "" if "://" in signaling_base_url else "https://"
    return f"{scheme}{signaling_base_url.rstrip('/')}{path}"


async def _call(what: str, url: str, token: str, body: bytes | None) -> bytes:
    with trio.move_on_after(REQUEST_SECONDS):
        call = partial(_post, what, url, token, body)
        return await run_in_thread(what, call, abandon_on_cancel=True)
    raise ApiError(f"no answer from {url} within {REQUEST_SECONDS:g} s")


def _post(what: str, url: str, token: str, body: bytes | None) -> bytes:
    # Here, because it costs 10 ms and 2 MB that only few jobs need.
    import http.client
    import urllib.error
    import urllib.request

    request = urllib.request.Request(
        url,
        body,
        method="POST",
        headers={"Authorization": token, "Content-Type": "application/json"},
    )
    try:
        with _opener().open(request, timeout=REQUEST_SECONDS) as response:
            answer: bytes = response.read(_MAX_ANSWER_BYTES)
    except urllib.error.HTTPError as error:
        with error:
            raise ApiError(
                f"{url} answered {error.code} {error.reason}", status=error.code
            ) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        # ValueError: a URL or a header value that cannot be sent; its text may quote the token.
        why = type(error).__name__ if isinstance(error, ValueError) else error
        raise ApiError(f"cannot {what} at {url}: {why}") from None
    return answer


def _opener() -> urllib.request.OpenerDirector:
    import ssl
    import urllib.request

    class NoRedirect(urllib.request.HTTPRedirectHandler):
        """Refuse: a redirect would send the token to another host."""

        def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:
            return None

    # The SDK reads the same variable, so one is enough for a local room service.
    context = ssl.create_default_context(cafile=os.environ.get(TRUST_VARIABLE) or None)
    return urllib.request.build_opener(NoRedirect, urllib.request.HTTPSHandler(context=context))


def _room_id(body: bytes, url: str) -> str:
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    room_id = answer.get("roomId") if isinstance(answer, dict) else None
    if not isinstance(room_id, str) or not room_id:
        raise ApiError(f"{url} answered without a roomId")
    return room_id
