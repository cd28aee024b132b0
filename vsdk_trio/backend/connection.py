"""The public connection to the registry.

The reference's `BackendConnection`, in a form that fits Trio. Owns the tasks and the names; the
loop over sessions is in `session_loop`. Must not know what a job is, or how one is run.
"""

from __future__ import annotations

import random
import ssl
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Final, ParamSpec

import trio

from .._exceptions import single_errors
from .._service import open_service
from ..errors import NotConnectedError, OptionsError
from ..protocol.messages import JobAssignment, WireMessage
from ..telemetry import events as seen
from ..telemetry.logs.loggers import get_logger
from .dialer import Dialer
from .events import EventSource
from .opening import Registration, SessionOpener
from .retries import Retries
from .session_loop import OFFLINE_SECONDS, SessionLoop
from .token import TokenProvider
from .websocket import GOODBYE_SECONDS

logger = get_logger("vsdk_trio.backend")

UNREGISTERED: Final = "unregistered"


def _always(error: Exception) -> bool:
    return True


def _not_interested(message: WireMessage) -> None:
    return None


class BackendConnection(EventSource):
    """A lasting connection to the registry; building one does nothing yet.

    Run it with `async with`, or `await nursery.start(connection.connect)`, or as a service:
    `open_service(connection.run, grace=connection.grace_seconds)`. Each of them returns once
    registered. Use a connection once. Cancelled, it still says goodbye.

    Args:
        auth_token: A token or a `TokenProvider`; "" reads the environment.
        agent_id: The name that jobs are dispatched to.
        worker_type: Kept for the reference's signature.
        version: The version that the worker reports.
        max_retry: Retries before it gives up.
        http_proxy: A proxy URL; None reads the environment.
        backend_url: The registry; None asks init-config at `signaling_base_url`.
        load_threshold: Reported to the registry, 0 to 1.
        max_processes: Reported to the registry, in jobs.
        signaling_base_url: The API for init-config, a host or a URL.
        ssl_context: Which certificates to trust; None for those of the system.
        registration_timeout: Time for the answer to `register`, in seconds.
        connect_timeout: Time to get a token, for init-config, and to open the WebSocket, in
            seconds for each.
        heartbeat_interval: Time between heartbeats, in seconds.
        flush_timeout: Time for undelivered messages at the end, in seconds.
        dialer: Replaces the network.
        rng: Replaces chance.
        worker_id: The id to ask for.
        announce: Called synchronously; returns the first messages of each session.
        give_up: Called synchronously with the error to end with; returns whether to end.
        on_acknowledged: Called synchronously with each durable message that the registry has.
        observe: Called synchronously with each observation.
        hold: Awaited in each attempt before a link is opened, for a caller that is not ready.

    Raises:
        OptionsError: An argument cannot be used; raised by the constructor.
        RegistrationRefusedError: The registry refuses the token or the worker.
        RegistryUnreachableError: All retries are used up.
        TokenError: The first attempt has no usable token.
    """

    def __init__(
        self,
        auth_token: str | TokenProvider,
        agent_id: str = "",
        worker_type: str = "room",
        version: str = "1.0.0",
        max_retry: int = 16,
        http_proxy: str | None = None,
        backend_url: str | None = None,
        load_threshold: float = 0.75,
        max_processes: int = 10,
        *,
        signaling_base_url: str = "api.videosdk.live",
        ssl_context: ssl.SSLContext | None = None,
        registration_timeout: float = 10.0,
        connect_timeout: float = 10.0,
        heartbeat_interval: float = 15.0,
        flush_timeout: float = 5.0,
        dialer: Dialer | None = None,
        rng: random.Random | None = None,
        worker_id: str = "",
        announce: Callable[[], Sequence[WireMessage]] = tuple,
        give_up: Callable[[Exception], bool] = _always,
        on_acknowledged: Callable[[WireMessage], None] = _not_interested,
        observe: seen.Observe = seen.unobserved,
        hold: Callable[[], Awaitable[object]] = trio.lowlevel.checkpoint,
    ) -> None:
        if not heartbeat_interval > 0:
            raise OptionsError(f"heartbeat_interval must be above 0, not {heartbeat_interval:g}")
        self.agent_id = agent_id
        self.worker_type = worker_type
        self.version = version
        self.max_retry = max_retry
        self.backend_url = backend_url
        self.load_threshold = load_threshold
        self.max_processes = max_processes
        self.heartbeat_interval = heartbeat_interval
        self.flush_timeout = flush_timeout
        self._loop = SessionLoop(
            tokens=auth_token
            if isinstance(auth_token, TokenProvider)
            else TokenProvider(auth_token),
            opener=SessionOpener(
                backend_url=backend_url,
                signaling_base_url=signaling_base_url,
                http_proxy=http_proxy,
                dialer=dialer,
                ssl_context=ssl_context,
                connect_timeout=connect_timeout,
                registration_timeout=registration_timeout,
                hold=hold,
                registration=Registration(
                    agent_name=agent_id,
                    version=version,
                    load_threshold=load_threshold,
                    max_processes=max_processes,
                ),
            ),
            retries=Retries(max_retry, rng or random.Random(), give_up),
            announce=announce,
            on_acknowledged=on_acknowledged,
            observe=observe,
            agent_id=agent_id,
            heartbeat_interval=heartbeat_interval,
            worker_id=worker_id,
        )
        self._loop.opener.check()
        super().__init__(self._loop.inbox)
        self._has_begun = False
        self._asked_to_leave = trio.Event()
        self._gone = trio.Event()
        self._entered: AbstractAsyncContextManager[None] | None = None

    def __repr__(self) -> str:
        state = f"session {self.epoch}" if self.is_connected else "not connected"
        return f"<BackendConnection of {self.agent_id!r} as {self.worker_id}: {state}>"

    @property
    def worker_id(self) -> str:
        """The id that the registry gave this worker; "unregistered" before."""
        return self._loop.worker_id or UNREGISTERED

    @property
    def is_connected(self) -> bool:
        """Whether a registered session is open."""
        return self._loop.is_connected

    @property
    def epoch(self) -> int:
        """The number of the current session, or of the last; 0 before the first."""
        return self._loop.epoch

    @property
    def undelivered(self) -> int:
        """How many messages wait to be sent."""
        return self._loop.outbox.pending

    @property
    def unacknowledged(self) -> int:
        """How many job updates the registry is not known to have."""
        return self._loop.outbox.unacknowledged

    @property
    def token(self) -> str:
        """The token of the current session, or of the last; "" before the first."""
        return self._loop.token

    @property
    def ignored(self) -> Counter[str]:
        """Frames that meant nothing, by kind."""
        return self._loop.ignored

    @property
    def grace_seconds(self) -> float:
        """The grace to give it as a service: for the flush, and then the goodbyes."""
        return self.flush_timeout + OFFLINE_SECONDS + GOODBYE_SECONDS

    def post(self, message: WireMessage, *, epoch: int | None = None) -> bool:
        """Queue a message; returns whether it will be sent. Never blocks.

        Job updates are kept until the registry is known to have them, of status updates the
        newest, across sessions. Anything else goes out in the open session, or is dropped; with
        `epoch`, only in that session. Raises `WireError` for what cannot be sent.
        """
        return self._loop.queue(message, epoch)

    def flush_soon(self) -> None:
        """From now on, ask the registry at once to acknowledge what it was sent.

        For a caller that is about to leave. Otherwise an acknowledgement takes up to two heartbeats
        where the registry answers no JSON ping.
        """
        self._loop.flush_soon()

    async def send_message(self, message: WireMessage) -> None:
        """Queue a message for the open session (the reference's; see `post`).

        Raises `NotConnectedError` where none is open, `WireError` for what cannot be sent.
        """
        await trio.lowlevel.checkpoint()
        if not self.is_connected:
            raise NotConnectedError("not connected to the registry")
        self.post(message)

    async def wait_for_assignment(self, job_id: str, timeout: float = 7.5) -> JobAssignment:
        """Wait for the assignment of a job, or take the one that came first.

        The assignment is delivered as an event, too.

        Args:
            job_id: The job.
            timeout: How long to wait, in seconds.

        Raises:
            TimeoutError: There was no assignment in that time.
        """
        with trio.move_on_after(timeout):
            return await self._loop.assignments.wait(job_id)
        raise TimeoutError(f"no assignment of job {job_id} within {timeout:g} s")

    async def run(
        self,
        stopping: trio.Event,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """The body of a service: keep a session open until `stopping`, then leave in order.

        Leaving sends what is queued and waits for its acknowledgement, within `flush_timeout`; it
        reconnects for that if need be. `offline` is the last message, and the WebSocket is closed
        with 1000. Cancelled, it still sends `offline` and closes. See the class for the errors.
        """
        if self._has_begun:
            raise RuntimeError("a BackendConnection is used once; build a new one")
        self._has_begun = True
        loop = self._loop
        with single_errors():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(loop.inbox.run_callbacks)
                try:
                    await self._keep(stopping, task_status)
                finally:
                    loop.inbox.close()
                    self._gone.set()
                # Callbacks may still work on queued events.
                seconds = self.flush_timeout if loop.inbox.has_callbacks else 0.0
                nursery.cancel_scope.deadline = trio.current_time() + seconds
            if loop.inbox.has_callbacks and nursery.cancel_scope.cancelled_caught:
                logger.error("a callback was cut off, %g s after the end", seconds)

    async def _keep(self, stopping: trio.Event, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as nursery:
            leaving = trio.CancelScope()
            nursery.start_soon(self._watch, stopping, leaving)
            nursery.start_soon(self._watch, self._asked_to_leave, leaving)
            with leaving:
                await self._loop.keep(task_status)
            if self.unacknowledged:
                logger.error("messages were left undelivered: %r", self._loop.outbox)
            nursery.cancel_scope.cancel()

    async def _watch(self, asked: trio.Event, leaving: trio.CancelScope) -> None:
        await asked.wait()
        self._loop.leave()
        if not (self.is_connected or self.unacknowledged):
            leaving.cancel()  # an attempt under way has nothing to deliver
        leaving.deadline = min(leaving.deadline, trio.current_time() + self.flush_timeout)

    async def connect(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Run until `disconnect()`; `nursery.start(connection.connect)` waits for registration.

        A `disconnect()` before that ends it at once, unless job updates are not acknowledged.
        See the class for the errors.
        """
        await self.run(self._asked_to_leave, task_status=task_status)

    async def disconnect(self) -> None:
        """Leave in order (see `run`), and wait until the link is closed. Fine to call again.

        Callbacks may be at work for `flush_timeout` longer, this one's caller among them.
        """
        self._asked_to_leave.set()
        await trio.lowlevel.checkpoint()
        if self._has_begun:
            await self._gone.wait()

    async def __aenter__(self) -> BackendConnection:
        self._entered = self._running()
        await self._entered.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        assert self._entered is not None
        return await self._entered.__aexit__(kind, error, traceback)

    @asynccontextmanager
    async def _running(self) -> AsyncGenerator[None]:
        with single_errors():
            async with open_service(self.run, grace=self.grace_seconds):
                yield


_Arguments = ParamSpec("_Arguments")


def _opener_of(
    construct: Callable[_Arguments, BackendConnection],
) -> Callable[_Arguments, AbstractAsyncContextManager[BackendConnection]]:
    def open_backend_connection(
        *args: _Arguments.args, **kwargs: _Arguments.kwargs
    ) -> AbstractAsyncContextManager[BackendConnection]:
        """Build a `BackendConnection` and run it for the length of an `async with` block.

        Takes what the class takes; the block begins once registered, and its end leaves in order.
        """
        return construct(*args, **kwargs)

    return open_backend_connection


open_backend_connection = _opener_of(BackendConnection)
