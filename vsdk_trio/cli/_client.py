"""How the commands ask a registry or a worker: one request, one answer, one deadline, one error.

Knows HTTP and trio; nothing of what the answers mean.
"""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import attrs
import httpcore
import trio

from .._exceptions import single_errors
from ..backend.api import DialerBackend, DialError
from ..backend.dialer import choose_dialer, default_ssl_context
from ..backend.urls import api_base, is_tls, split_target
from ..errors import CertificateError, ConnectError
from ..options.environment import (
    ENVIRONMENT_PREFIX,
    FLAG,
    AddressSource,
    rest_address,
    secret_in,
)
from ..options.worker import Options
from ..system.stopping import ExitCode
from ._errors import CommandError
from ._flags import DEFAULT_REGISTRY_URL, TOKEN_VARIABLE

_CALL_SECONDS: Final = 60.0
_CONNECT_SECONDS: Final = 5.0
_MAX_ANSWER_BYTES: Final = 64 << 20
_Headers = list[tuple[bytes | str, bytes | str]]
_T = TypeVar("_T")


class CallError(CommandError):
    """The other side could not be asked, or said no."""


class AwayError(CallError):
    """No program answers at this address."""

    def __init__(self, message: str) -> None:
        super().__init__(message, ExitCode.REGISTRY)


def _without_last_slash(url: str) -> str:
    return url.strip().rstrip("/")


@attrs.frozen
class HttpPeer:
    """A registry or a worker at `url`; its token comes from the environment and nowhere else."""

    url: str = attrs.field(converter=_without_last_slash)
    ca_file: str | None = None
    """Whom to trust, as `--ca-file` says; None: as the environment does."""
    what: str = "registry"
    token_variable: str = TOKEN_VARIABLE
    token_prefix: str = ""
    advice: str = (
        "start one with `vsdk-trio registry`, or name another: --registry, VSDK_TRIO_REGISTRY_URL"
    )
    """What to do if no program answers."""

    async def ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Ask, and return the answer; raises `CallError` with a text for a person."""
        status, answer = await self.exchange(method, path, body)
        return self._checked(status, answer)

    async def exchange(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        """Ask, and return status and answer as they come.

        Raises:
            CallError: where no answer comes.
            OptionsError: for a proxy or a file of certificates that cannot be used.
        """
        url, what = self.url, self.what
        self._check_url()
        headers: _Headers = [
            ("Host", split_target(url).host_header),  # httpcore's has no brackets for IPv6
            ("Content-Type", "application/json"),
            ("Accept", "application/json"),
        ]
        if token := secret_in(os.environ, self.token_variable):
            headers.append(("Authorization", self.token_prefix + token))
        content = b"" if body is None else json.dumps(body).encode()
        if content or method == "POST":
            headers.append(("Content-Length", str(len(content))))
        try:
            with trio.fail_after(_CALL_SECONDS):
                return await self._exchange(method, url + path, headers, content)
        except (httpcore.NetworkError, httpcore.ConnectTimeout) as error:
            if isinstance(error, DialError) and isinstance(error.error, CertificateError):
                raise CallError(f"{url}: {error}", ExitCode.REGISTRY) from None
            raise AwayError(f"no {what} answers at {url}{_reason(error)}; {self.advice}") from None
        except trio.TooSlowError:
            raise AwayError(f"{url} did not answer within {_CALL_SECONDS:.0f} s") from None
        except httpcore.ProtocolError:
            raise CallError(f"{url} does not speak HTTP") from None

    def _check_url(self) -> None:
        why = "" if "://" in self.url else "; it must start with http:// or https://"
        try:
            api_base(self.url)
        except ConnectError as error:
            why = why or f": {error}"
        if why:
            raise CallError(f"{self.url!r} is not the URL of a {self.what}{why}", ExitCode.USAGE)

    async def _exchange(
        self, method: str, url: str, headers: _Headers, content: bytes
    ) -> tuple[int, bytes]:
        options = _way_out(self.ca_file)
        own = options.tls_context()
        backend = DialerBackend(
            lambda target: choose_dialer(options.http_proxy, target, os.environ, own),
            url,
            max_answer_bytes=_MAX_ANSWER_BYTES,
        )
        context: ssl.SSLContext | None = own or (default_ssl_context() if is_tls(url) else None)
        async with (
            httpcore.AsyncConnectionPool(ssl_context=context, network_backend=backend) as pool,
            pool.stream(
                method,
                url,
                headers=headers,
                content=content,
                extensions={"timeout": {"connect": _CONNECT_SECONDS}},
            ) as response,
        ):
            return response.status, await response.aread()

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


def registry_at(flag: str | None, ca_file: str | None, *, argument: str | None = None) -> HttpPeer:
    """The registry that a command is for: see `_registry_address`.

    Args:
        flag: what `--registry` has given.
        ca_file: what `--ca-file` has given.
        argument: what was given without a flag.

    Raises:
        OptionsError: for an address that is none.
    """
    url = rest_address(
        AddressSource("URL", argument),
        AddressSource(FLAG, flag),
        AddressSource.of_environment(os.environ),
        default=DEFAULT_REGISTRY_URL,
    )
    return HttpPeer(url, ca_file)


def worker_at(url: str, ca_file: str | None) -> HttpPeer:
    """The worker whose own HTTP is at `url`."""
    return HttpPeer(
        url,
        ca_file,
        "worker",
        ENVIRONMENT_PREFIX + "DEBUG_TOKEN",
        "Bearer ",
        "a worker says in its log where its HTTP is",
    )


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


def _way_out(ca_file: str | None) -> Options:
    """The options of a worker that hold for commands, too: how a connection leaves."""
    given = {
        name: os.environ.get(ENVIRONMENT_PREFIX + name.upper(), "")
        for name in ("ca_file", "http_proxy")
    }
    return Options(ca_file=ca_file or given["ca_file"], http_proxy=given["http_proxy"])


def _reason(error: Exception) -> str:
    # What trio says of a refusal repeats the address, and no more.
    text = str(error)
    return "" if not text or "all attempts to connect" in text else f": {text}"
