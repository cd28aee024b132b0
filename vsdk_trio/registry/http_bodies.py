"""What callers send to the registry: bodies, bounded in size and time, and fields, checked.

Knows JSON and its types; not what is asked.
"""

from __future__ import annotations

import math
from typing import Any, Final

import attrs
import orjson
import trio
from starlette.requests import Request

_MAX_BODY_BYTES: Final = 256 * 1024
# Read and thrown away: a connection closed with bytes unread is reset, and the answer is lost.
_MAX_DISCARDED_BYTES: Final = 4 << 20
_BODY_SECONDS: Final = 10.0
_MAX_ID: Final = 256


@attrs.frozen
class BadRequestError(Exception):
    """The request cannot be answered; `message` is for the caller."""

    status: int
    message: str


async def json_object(request: Request) -> dict[str, Any]:
    """The body as an object; an empty body is an empty one."""
    body = bytearray()
    size = 0
    with trio.move_on_after(_BODY_SECONDS) as scope:
        async for chunk in request.stream():
            size += len(chunk)
            if size <= _MAX_BODY_BYTES:
                body += chunk
            elif size > _MAX_DISCARDED_BYTES:
                break
    if scope.cancelled_caught:
        raise BadRequestError(408, "the body did not arrive in time")
    if size > _MAX_BODY_BYTES:
        raise BadRequestError(413, f"the body is larger than {_MAX_BODY_BYTES} bytes")
    try:
        parsed = orjson.loads(body) if body else {}
    except orjson.JSONDecodeError as error:
        raise BadRequestError(400, f"the body is not JSON: {error.msg}") from None
    if not isinstance(parsed, dict):
        raise BadRequestError(400, f"the body must be an object, not {type(parsed).__name__}")
    return parsed


@attrs.frozen
class Fields:
    """The fields of a body, each checked when it is asked for."""

    body: dict[str, Any]

    def text(self, name: str, *, required: bool = False) -> str:
        value = self._of_type(name, str) or ""
        if len(value) > _MAX_ID or (required and not value):
            least = 1 if required else 0
            raise BadRequestError(400, f"{name} must have {least} to {_MAX_ID} characters")
        return value

    def object(self, name: str) -> dict[str, Any] | None:
        value: dict[str, Any] | None = self._of_type(name, dict)
        return value

    def flag(self, name: str) -> bool:
        return bool(self._of_type(name, bool))

    def seconds(self, name: str) -> float | None:
        value = self._of_type(name, float, int)
        if value is not None and (isinstance(value, bool) or value <= 0 or math.isinf(value)):
            raise BadRequestError(400, f"{name} must be a number of seconds above 0")
        return value

    def _of_type(self, name: str, *types: type) -> Any:
        value = self.body.get(name)
        if value is not None and not isinstance(value, types):
            wanted = " or ".join(kind.__name__ for kind in types)
            raise BadRequestError(400, f"{name} must be {wanted}, not {type(value).__name__}")
        return value
