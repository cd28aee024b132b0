"""The REST calls of VideoSDK: where the registry is, make a room, dispatch an agent.

httpcore over our own dialers, so that proxies and simulated networks work here as everywhere.
Must not know WebSockets, sessions or where a token comes from. The caller sets the time limit.
"""

from __future__ import annotations

import json
import math
import ssl
from collections.abc import Iterable, Mapping
from typing import Any

import attrs
import httpcore
import trio
import trio.abc

from .._masking import peer_text
from ..errors import ApiError, ConnectError
from .dialer import DialerFor, default_ssl_context, secure
from .token import NoteDate, check_token, unnoted
from .urls import answered_url, api_base, is_tls, split_target
from .websocket import parse_retry_after

MAX_ANSWER_BYTES = 1 << 20
_MESSAGE_SHOWN = 300
JsonObject = dict[str, Any]


@attrs.frozen(kw_only=True)
class DispatchResult:
    """The registry's answer to a dispatch."""

    success: bool
    status: str
    room_id: str
    agent_id: str
    message: str


@attrs.frozen
class RegistryApi:
    """The REST side of a registry.

    Args:
        base_url: A host or a URL; `https` unless a scheme is given.
        dialer_for: Chooses the dialer for a URL.
        ssl_context: Which certificates to trust; None for those of the system.
        note_date: Called with the `Date` header of each answer.

    Every call raises `ApiError`: with the HTTP status of an answer that is an error (401 and 403
    are refusals, see `is_refusal`) or junk, with status 0 where there was no answer; and
    `TokenError` where the token cannot be one.
    """

    base_url: str = attrs.field(converter=api_base)
    dialer_for: DialerFor = attrs.field(repr=False)
    ssl_context: ssl.SSLContext | None = attrs.field(default=None, repr=False)
    note_date: NoteDate = attrs.field(default=unnoted, repr=False)

    async def init_config(self, token: str) -> str:
        """Ask where the registry is; returns its URL, see `answered_url`."""
        answer = await self._post("/v2/agent/init-config", token)
        data = answer.get("data")
        url = data.get("registryUrl") if isinstance(data, dict) else None
        if answer.get("success") is False:
            raise ApiError(f"init-config failed: {_message(answer)}")
        if not isinstance(url, str) or not url:
            raise ApiError("init-config: the answer has no data.registryUrl")
        try:
            return answered_url(self.base_url, url)
        except ConnectError as error:
            raise ApiError(str(error)) from None

    async def create_room(self, token: str) -> str:
        """Create a room; returns its id."""
        room_id = (await self._post("/v2/rooms", token)).get("roomId")
        if not isinstance(room_id, str) or not room_id:
            raise ApiError("creating a room: the answer has no roomId")
        return room_id

    async def dispatch(
        self,
        token: str,
        meeting_id: str,
        agent_id: str,
        metadata: Mapping[str, Any] | None = None,
        version_id: str | None = None,
    ) -> DispatchResult:
        """Ask for an agent in a room; raises `ApiError` where no worker takes the job."""
        body: JsonObject = {"meetingId": meeting_id, "agentId": agent_id}
        optional = {"metadata": metadata, "versionId": version_id}
        body |= {name: value for name, value in optional.items() if value is not None}
        answer = await self._post("/v2/agent/dispatch", token, body)
        data = answer.get("data")
        if not isinstance(data, dict) or data.get("success") is False:
            raise ApiError(f"dispatch failed: {_message(answer)}")
        return DispatchResult(
            success=True,
            status=str(data.get("status", "")),
            room_id=str(data.get("roomId", meeting_id)),
            agent_id=str(data.get("agentId", agent_id)),
            message=str(answer.get("message", "")),
        )

    async def _post(self, path: str, token: str, body: JsonObject | None = None) -> JsonObject:
        url = self.base_url + path
        content = b"" if body is None else json.dumps(body).encode()
        headers = [
            ("Host", split_target(url).host_header),  # httpcore's has no brackets for IPv6
            ("Authorization", check_token(token, origin="the token")),
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(content))),
        ]
        context = self.ssl_context or (default_ssl_context() if is_tls(url) else None)
        pool = httpcore.AsyncConnectionPool(
            ssl_context=context, network_backend=DialerBackend(self.dialer_for, url)
        )
        try:
            async with (
                pool,
                pool.stream("POST", url, headers=headers, content=content) as response,
            ):
                raw = await response.aread()
        except (
            httpcore.NetworkError,
            httpcore.ProtocolError,
            httpcore.TimeoutException,
        ) as error:
            cause = error.error if isinstance(error, DialError) else None
            why = peer_text(str(cause or error), most=_MESSAGE_SHOWN)
            # Not from httpcore's own: it quotes what the peer may have quoted of our request.
            raise ApiError(f"{url}: {why or type(error).__name__}") from cause
        fields = {name.lower(): value for name, value in response.headers}
        self.note_date(fields.get(b"date", b""))
        return _read_answer(url, response.status, fields, raw)


def is_refusal(error: ApiError) -> bool:
    """Whether the API refused the token (401, 403), so that trying it again cannot help."""
    return error.status in (401, 403)


def _read_answer(url: str, status: int, fields: Mapping[bytes, bytes], raw: bytes) -> JsonObject:
    try:
        answer = json.loads(raw)
    except (ValueError, RecursionError):
        answer = None
    if not 200 <= status < 300:
        detail = _message(answer) if isinstance(answer, dict) else "no message"
        raise ApiError(
            f"{url} answered {status}: {detail}",
            status=status,
            retry_after=parse_retry_after(fields.get(b"retry-after", b"")),
        )
    if not isinstance(answer, dict):
        raise ApiError(f"{url} did not answer with a JSON object", status=status)
    return answer


def _message(answer: JsonObject) -> str:
    message = answer.get("message") or answer.get("error") or "no message"
    text = message if isinstance(message, str) else type(message).__name__
    # An answer may quote what it was asked with.
    return peer_text(text, most=_MESSAGE_SHOWN)


class DialError(httpcore.ConnectError):
    """Carries our `ConnectError` through httpcore, which drops the cause of an exception."""

    def __init__(self, error: ConnectError) -> None:
        super().__init__(str(error))
        self.error = error


class DialerBackend(httpcore.AsyncNetworkBackend):
    """Lets httpcore connect through a `Dialer`.

    The limit for connecting is httpcore's; all others are the caller's cancel scope.
    """

    def __init__(
        self, dialer_for: DialerFor, url: str, *, max_answer_bytes: int = MAX_ANSWER_BYTES
    ) -> None:
        self._dialer_for = dialer_for
        self._url = url
        self._max_answer_bytes = max_answer_bytes

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        with trio.move_on_after(math.inf if timeout is None else timeout):
            try:
                stream = await self._dialer_for(self._url).dial(host, port)
            except ConnectError as error:
                raise DialError(error) from error
            return _NetworkStream(stream, self._max_answer_bytes)
        raise httpcore.ConnectTimeout(f"no connection to {host}:{port} within {timeout:g} s")

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)


class _NetworkStream(httpcore.AsyncNetworkStream):
    """A trio stream as httpcore wants it, for one answer of a bounded size.

    Bounded here, because ending httpcore's own iteration early leaves its generators to the
    garbage collector.
    """

    def __init__(self, stream: trio.abc.Stream, max_answer_bytes: int) -> None:
        self._stream = stream
        self._received = 0
        self._max_answer_bytes = max_answer_bytes

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            data = bytes(await self._stream.receive_some(max_bytes))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise httpcore.ReadError("the connection broke") from error
        self._received += len(data)
        if self._received > self._max_answer_bytes:
            raise httpcore.ReadError(
                f"the answer is larger than {self._max_answer_bytes >> 20} MiB"
            )
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        try:
            await self._stream.send_all(buffer)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise httpcore.WriteError("the connection broke") from error

    async def aclose(self) -> None:
        await trio.aclose_forcefully(self._stream)

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        with trio.move_on_after(math.inf if timeout is None else timeout):
            try:
                stream = await secure(self._stream, server_hostname or "", ssl_context)
            except ConnectError as error:
                raise DialError(error) from error
            return _NetworkStream(stream, self._max_answer_bytes)
        raise httpcore.ConnectTimeout(f"no TLS with {server_hostname} within {timeout:g} s")
