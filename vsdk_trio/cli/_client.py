"""How the commands ask a registry or a worker: one request, one answer, one deadline, one error.

Knows HTTP and trio; nothing of what the answers mean.
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import attrs
import httpcore
import trio

from .._exit_codes import ExitCode
from .._option_texts import ENVIRONMENT_PREFIX
from .._single_errors import single_errors
from ._errors import CommandError
from ._options import TOKEN_VARIABLE

_CALL_SECONDS: Final = 60.0
_CONNECT_SECONDS: Final = 5.0
_MAX_ANSWER_BYTES: Final = 64 << 20
_Headers = list[tuple[bytes | str, bytes | str]]
_T = TypeVar("_T")


class CallError(CommandError):
    """The other side could not be asked, or said no."""


class AwayError(CallError):
    """Nobody answers there."""

    def __init__(self, message: str) -> None:
        super().__init__(message, ExitCode.REGISTRY)


def _without_last_slash(url: str) -> str:
    return url.rstrip("/")


@attrs.frozen
class Peer:
    """A registry or a worker at `url`; its token comes from the environment and nowhere else."""

    url: str = attrs.field(converter=_without_last_slash)
    what: str = "registry"
    token_variable: str = TOKEN_VARIABLE
    token_prefix: str = ""
    advice: str = (
        "start one with `vsdk-trio registry`, or name another: --registry, VSDK_TRIO_REGISTRY_URL"
    )
    """What to do where nobody answers."""

    async def ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Ask, and return the answer; raises `CallError` with a text for a person."""
        status, answer = await self.exchange(method, path, body)
        return self._checked(status, answer)

    async def exchange(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        """Ask, and return status and answer as they come; raises `CallError` where none comes."""
        headers: _Headers = [("Content-Type", "application/json"), ("Accept", "application/json")]
        if token := os.environ.get(self.token_variable):
            headers.append(("Authorization", self.token_prefix + token))
        content = b"" if body is None else json.dumps(body).encode()
        url, what = self.url, self.what
        try:
            with trio.fail_after(_CALL_SECONDS):
                return await _exchange(method, url + path, headers, content)
        except (httpcore.NetworkError, httpcore.ConnectTimeout) as error:
            raise AwayError(f"no {what} answers at {url}{_reason(error)}; {self.advice}") from None
        except (trio.TooSlowError, httpcore.TimeoutException):
            raise AwayError(f"{url} did not answer within {_CALL_SECONDS:.0f} s") from None
        except httpcore.ProtocolError:
            raise CallError(f"{url} does not speak HTTP") from None
        except (httpcore.UnsupportedProtocol, httpcore.LocalProtocolError, ValueError):
            hint = "" if "://" in url else "; it must start with http:// or https://"
            raise CallError(f"{url!r} is not the URL of a {what}{hint}", ExitCode.USAGE) from None

    def _checked(self, status: int, answer: bytes) -> dict[str, Any]:
        try:
            parsed = json.loads(answer)
        except ValueError:
            parsed = None
        if not isinstance(parsed, dict):
            raise CallError(f"{self.url} is not a {self.what}: its answer ({status}) is not JSON")
        said = str(parsed.get("message") or parsed.get("error") or "")
        if status == 401:
            raise CallError(
                f"the {self.what} refuses the token; it is read from ${self.token_variable}",
                ExitCode.REGISTRY,
            )
        if status >= 400:
            raise CallError(said or f"the {self.what} answered {status}")
        return parsed


def worker_at(url: str) -> Peer:
    """The worker whose own HTTP is at `url`."""
    return Peer(
        url,
        "worker",
        ENVIRONMENT_PREFIX + "DEBUG_TOKEN",
        "Bearer ",
        "a worker says in its log where its HTTP is",
    )


def call(registry_url: str, method: str, path: str, body: object = None) -> dict[str, Any]:
    """Ask a registry and return its answer. Runs its own event loop."""
    return run(Peer(registry_url).ask, method, path, body)


def run(main: Callable[..., Awaitable[_T]], *args: Any) -> _T:
    """Run an event loop for a command; what it raises comes out as it is, an interrupt, too.

    Ctrl-C comes where the command waits, and never between two steps of drawing on a terminal.
    """

    @trio.lowlevel.enable_ki_protection
    async def protected() -> _T:
        return await main(*args)

    with single_errors():
        return trio.run(protected)
    raise AssertionError("not reached")


def _reason(error: Exception) -> str:
    # What trio says of a refusal repeats the address, and no more.
    text = str(error)
    return "" if not text or text.startswith("all attempts to connect") else f": {text}"


async def _exchange(method: str, url: str, headers: _Headers, content: bytes) -> tuple[int, bytes]:
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
