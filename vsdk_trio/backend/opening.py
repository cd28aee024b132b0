"""From nothing to a registered session: token, registry URL, link, registration.

One attempt; what to do after a failed one is decided elsewhere. Must not know the outbox.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs
import trio

from ..errors import ApiError, ConnectError, OptionsError, RegistrationRefusedError
from ..protocol.codec import encode
from ..protocol.messages import WorkerMessage
from ..protocol.session import IgnoredFrame, ProtocolSession, Registered, RegistrationRefusal
from ..websocket.link import Link, LinkLost
from .dialer import Dialer, ProxyDialer, choose_dialer, default_ssl_context
from .token import PeerClock
from .urls import agent_url, api_base, is_tls
from .websocket import ConnectRejected, open_link

if TYPE_CHECKING:
    from .api import RegistryApi

CAPABILITIES = ("room", "voice", "stt", "tts")
_REFUSALS = (401, 403)


@attrs.frozen(kw_only=True)
class Registration:
    """What the worker says of itself in `register`."""

    agent_name: str
    version: str
    load_threshold: float
    max_processes: int

    def message(self, *, worker_id: str, token: str) -> WorkerMessage:
        """The `register` message; `worker_id` "" asks for a new one."""
        return WorkerMessage(
            type="register",
            worker_id=worker_id,
            agent_name=self.agent_name,
            namespace="default",
            version=self.version,
            capabilities=list(CAPABILITIES),
            registry_uuid="default",
            token=token,
            load_threshold=self.load_threshold,
            max_processes=self.max_processes,
        )


@attrs.frozen(kw_only=True)
class SessionOpener:
    """What one attempt needs to know that stays the same from attempt to attempt.

    `backend_url`, where given, is the registry; else init-config at `signaling_base_url` says.
    Times are in seconds.
    """

    backend_url: str | None
    signaling_base_url: str
    http_proxy: str | None = attrs.field(repr=False)
    dialer: Dialer | None
    ssl_context: ssl.SSLContext | None
    connect_timeout: float
    registration_timeout: float
    registration: Registration
    hold: Callable[[], Awaitable[object]] = trio.lowlevel.checkpoint
    """Awaited before there is a link: what must be known before anything is promised."""

    clock: PeerClock = attrs.field(factory=PeerClock)

    def check(self) -> None:
        """Raise `OptionsError` for a typing error now, and not after all retries."""
        try:
            url = agent_url(self.backend_url or api_base(self.signaling_base_url))
        except ConnectError as error:
            name = "backend_url" if self.backend_url else "signaling_base_url"
            raise OptionsError(f"{name}: {error}") from None
        if self.http_proxy:
            ProxyDialer.from_url(self.http_proxy)
        if self.ssl_context is None and is_tls(url):
            default_ssl_context()

    @asynccontextmanager
    async def open_session(
        self, token: str, worker_id: str, ignore: Callable[[IgnoredFrame], None]
    ) -> AsyncGenerator[tuple[Link, ProtocolSession, Registered]]:
        """Hold a registered session for the length of the block.

        Args:
            token: The token to present.
            worker_id: The id of the previous session; "" asks for a new one.
            ignore: Called with each frame that means nothing.

        Raises:
            RegistrationRefusedError: The registry refuses the token or the worker.
            ConnectError: The attempt failed in any other way.
        """
        try:
            url = agent_url(self.backend_url or await self._ask_for_url(token))
        except ApiError as error:
            if error.status in _REFUSALS:
                raise self._refusal(error) from error
            raise
        await self.hold()
        entered = False
        try:
            async with open_link(
                url,
                dialer=self._dialer_for(url),
                headers={"Authorization": f"Bearer {token}"},
                ssl_context=self.ssl_context,
                connect_timeout=self.connect_timeout,
                note_date=self.clock.note,
            ) as link:
                session = ProtocolSession(
                    self.registration.message(worker_id=worker_id, token=token)
                )
                registered = await self._register(link, session, ignore)
                entered = True
                yield link, session, registered
        except ConnectRejected as error:
            if error.status in _REFUSALS and not entered:
                raise self._refusal(error) from error
            raise

    def _dialer_for(self, url: str) -> Dialer:
        return self.dialer or choose_dialer(self.http_proxy, url, os.environ, self.ssl_context)

    async def _ask_for_url(self, token: str) -> str:
        # Asked anew at each attempt: registries move.
        api = self._api()
        with trio.move_on_after(self.connect_timeout):
            return await api.init_config(token)
        raise ConnectError(f"init-config did not answer within {self.connect_timeout:g} s")

    def _api(self) -> RegistryApi:
        # Imported late: httpcore is a tenth of a second that most local setups do not need.
        from .api import RegistryApi

        return RegistryApi(
            self.signaling_base_url, self._dialer_for, self.ssl_context, self.clock.note
        )

    def _refusal(self, why: object) -> RegistrationRefusedError:
        """Names the clocks where they differ: a token may be good by one and not by the other."""
        clocks = f" ({self.clock}: is it right?)" if self.clock.is_off else ""
        return RegistrationRefusedError(f"{why}{clocks}")

    async def _register(
        self, link: Link, session: ProtocolSession, ignore: Callable[[IgnoredFrame], None]
    ) -> Registered:
        """Send `register`, wait for the answer; anything else before it is ignored."""
        with trio.move_on_after(self.registration_timeout):
            try:
                await link.send(encode(session.registration))
                while True:
                    match session.received(await link.receive()):
                        case Registered() as registered:
                            return registered
                        case RegistrationRefusal(message):
                            raise self._refusal(f"the registry refuses: {message}")
                        case IgnoredFrame() as ignored:
                            ignore(ignored)
                        case unexpected:
                            raise AssertionError(f"{type(unexpected).__name__} before register")
            except LinkLost as error:
                raise ConnectError(f"the registry did not register this worker: {error}") from error
        raise ConnectError(
            f"the registry did not answer the registration within {self.registration_timeout:g} s"
        )
