"""How the commands call a registry: one request, one answer, one deadline, one clear error.

Knows HTTP and trio; nothing of what the answers mean.
"""

from __future__ import annotations

import json
import os
from typing import Any, Final

import httpcore
import trio

from ..errors import VsdkTrioError
from ._options import TOKEN_VARIABLE

_CALL_SECONDS: Final = 60.0
_CONNECT_SECONDS: Final = 5.0
_MAX_ANSWER_BYTES: Final = 64 << 20


class CallError(VsdkTrioError):
    """The registry could not be asked, or said no."""


def call(registry_url: str, method: str, path: str, body: object = None) -> dict[str, Any]:
    """Ask the registry and return its answer. Runs its own event loop.

    The token comes from the environment. Raises `CallError` with a text for a person.
    """
    return trio.run(_call, registry_url.rstrip("/"), method, path, body)


async def _call(base_url: str, method: str, path: str, body: object) -> dict[str, Any]:
    headers: list[tuple[bytes | str, bytes | str]] = [("Content-Type", "application/json")]
    if token := os.environ.get(TOKEN_VARIABLE):
        headers.append(("Authorization", token))
    content = b"" if body is None else json.dumps(body).encode()
    try:
        with trio.fail_after(_CALL_SECONDS):
            status, answer = await _exchange(method, base_url + path, headers, content)
    except (httpcore.NetworkError, httpcore.ConnectTimeout) as error:
        why = f": {error}" if str(error) else ""
        raise CallError(f"no registry answers at {base_url}{why}") from None
    except (trio.TooSlowError, httpcore.TimeoutException):
        raise CallError(f"{base_url} did not answer within {_CALL_SECONDS:.0f} s") from None
    except httpcore.ProtocolError:
        raise CallError(f"{base_url} does not speak HTTP") from None
    except (httpcore.UnsupportedProtocol, httpcore.LocalProtocolError, ValueError):
        hint = "" if "://" in base_url else "; it must start with http:// or https://"
        raise CallError(f"{base_url!r} is not the URL of a registry{hint}") from None
    return _checked(base_url, status, answer)


async def _exchange(
    method: str, url: str, headers: list[tuple[bytes | str, bytes | str]], content: bytes
) -> tuple[int, bytes]:
    timeouts = {"timeout": {"connect": _CONNECT_SECONDS}}
    answer = bytearray()
    async with (
        httpcore.AsyncConnectionPool() as pool,
        pool.stream(method, url, headers=headers, content=content, extensions=timeouts) as response,
    ):
        async for chunk in response.aiter_stream():
            answer += chunk
            if len(answer) > _MAX_ANSWER_BYTES:
                raise CallError(f"the answer of {url} is larger than {_MAX_ANSWER_BYTES} bytes")
    return response.status, bytes(answer)


def _checked(base_url: str, status: int, answer: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(answer)
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        raise CallError(f"{base_url} is not a registry: its answer ({status}) is not JSON")
    if status == 401:
        raise CallError(f"the registry refuses the token; it is read from ${TOKEN_VARIABLE}")
    if status >= 400:
        raise CallError(str(parsed.get("message") or f"the registry answered {status}"))
    return parsed
