"""`JobContext`: what an entrypoint gets, with its room, its data and its end.

Implements the reference's `JobContext`. A context can be built outside a Trio run, does nothing
until a job runs with it (see `execution`), and serves one job. Knows neither frames nor the
registry.
"""

from __future__ import annotations

import math
import os
import secrets
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

import attrs
import trio

from .._exceptions import leaves
from .._masking import hide_passing
from ..control.frames import JobInfo
from ..errors import RoomError, TokenError
from ..options.room import RoomOptions, TransportMode
from ..options.worker import WorkerPermissions
from ..rooms import Room, RoomFactory, RoomRequest, open_room, require_transport
from ..rooms.base import check_transport, read_permissions
from ..rooms.rest import RoomCreator, create_room
from ..telemetry.logs.loggers import get_logger
from .callbacks import CallbackStack, ShutdownCallback, call
from .job_run import JobRun, StopRequest

# A `JobContext`, or what stands for it under asyncio.
_current: ContextVar[Any] = ContextVar("vsdk_trio_job_context", default=None)

ROOM_VARIABLE = "VIDEOSDK_ROOM_ID"
TOKEN_VARIABLE = "VIDEOSDK_AUTH_TOKEN"


class ManagedSession(Protocol):
    """What `run_until_shutdown` manages; the methods may be sync or async."""

    def start(self) -> object: ...

    def close(self) -> object: ...


@attrs.define(kw_only=True)
class JobProcessInfo:
    """The process of a job, as `initialize_process_fnc` and the job see it."""

    pid: int = attrs.field(factory=os.getpid)
    userdata: dict[str, Any] = attrs.field(factory=dict)
    """Values that `initialize_process_fnc` stores; the job reads them in `ctx.process.userdata`."""


def get_current_job_context() -> Any:
    """Return the `JobContext` of the job that this task belongs to; None outside a job.

    Under asyncio it is the object that the entrypoint got: see `vsdk_trio.aio`.
    """
    return _current.get()


@contextmanager
def as_current(context: object) -> Iterator[None]:
    """During the body, `get_current_job_context()` returns this one in the calling task."""
    token = _current.set(context)
    try:
        yield
    finally:
        _current.reset(token)


class JobContext:
    """The runtime of one job: its room, its data, its end.

    Args:
        room_options: The room to join.
        metadata: The job's own data.
        loop: Ignored. The reference has it; Trio has no event loop to pass around.
        job: Describes the job. This and the following arguments are for the runner of the job.
        process: Describes the process of the job.
        token: The token to use before every other one.
        room_factory: Opens rooms.
        room_creator: Creates rooms over REST.
    """

    def __init__(
        self,
        *,
        room_options: RoomOptions,
        metadata: dict[str, Any] | None = None,
        loop: object = None,
        job: JobInfo | None = None,
        process: JobProcessInfo | None = None,
        token: str = "",
        room_factory: RoomFactory = open_room,
        room_creator: RoomCreator = create_room,
    ) -> None:
        self.room_options = RoomOptions.taken_over(room_options)
        self.metadata: dict[str, Any] = {} if metadata is None else metadata
        self.job = job or JobInfo(job_id=f"local-{secrets.token_hex(4)}")
        self.process = process or JobProcessInfo()
        self.room: Room | None = None
        """The room, once `connect()` has joined it."""
        self.want_console = sys.argv[1:2] == ["console"]
        self._token = token or self.job.token
        # A program may take the variable away once it has made its context; a job process does not.
        self._token_when_made = os.environ.get(TOKEN_VARIABLE, "") if job is None else ""
        self._room_factory = room_factory
        self._room_creator = room_creator
        self._transport: TransportMode | None = None  # of the room, once it is being joined
        self._connecting = trio.Lock()
        self._joined = trio.Event()
        self._when_joined: list[Callable[[], object]] = []
        self._callbacks = CallbackStack()
        self._run: JobRun | None = None  # the job, while there is one
        self._nursery: trio.Nursery | None = None  # its nursery, while the entrypoint runs

    def __repr__(self) -> str:
        return f"<JobContext job_id={self.job.job_id!r} room={self.room!r}>"

    @property
    def videosdk_auth(self) -> str | None:
        """The job's token: its own, else the room options', else `VIDEOSDK_AUTH_TOKEN`, else None.

        The variable is read each time. If it is gone, its value at the time when the context was
        made counts. The worker makes a token from an API key; it arrives as the job's own.
        """
        own = self._token or self.room_options.auth_token
        now = os.environ.get(TOKEN_VARIABLE, "").strip()
        return own or now or self._token_when_made.strip() or None

    @property
    def permissions(self) -> WorkerPermissions:
        """What the agent's participant may do in its room."""
        return read_permissions(self.job.permissions)

    @property
    def nursery(self) -> trio.Nursery:
        """A nursery for the job's own background tasks.

        Its tasks are cancelled when the entrypoint has ended or the job is stopped. An exception of
        one of them fails the job.

        Raises:
            RuntimeError: The entrypoint is not running.
        """
        if self._nursery is None:
            raise RuntimeError("JobContext: nursery exists while the entrypoint runs")
        return self._nursery

    async def connect(self) -> None:
        """Join the room that the options describe, and set `room`.

        The room outlives the entrypoint; the job leaves it after the shutdown callbacks. Does
        nothing if the room is joined already, or with `join_meeting=False`. Cancelled, it leaves
        the room that it was about to join.

        Raises:
            RoomError: The room cannot be joined, or not within `RoomOptions.join_timeout_seconds`.
            OptionsError: The room options are wrong.
            TokenError: A room has to be created, and there is no token.
            ApiError: A room has to be created, and the call fails.
        """
        run = self._running("connect()")
        async with self._connecting:
            if self.room is None and self.room_options.join_meeting:
                self._transport = self.room_options.effective_transport(os.environ)
                self.room = await join_room(
                    run,
                    self.room_options,
                    self._transport,
                    factory=self._room_factory,
                    choose_room=self._choose_room,
                    request=self._room_request,
                )
                self.notify_meeting_joined()

    def _room_request(self) -> RoomRequest:
        options = self.room_options
        return RoomRequest(
            room_id=options.room_id or "",
            participant_id=options.agent_participant_id or f"agent-{secrets.token_hex(4)}",
            name=options.name or "Agent",
            token=self.videosdk_auth or "",
            permissions=self.permissions,
            options=options,
            metadata=self.metadata,
        )

    async def _choose_room(self, mode: TransportMode) -> str:
        given = self.job.room_id or os.environ.get(ROOM_VARIABLE, "").strip()
        if not given and mode is TransportMode.VIDEOSDK:
            return await self.get_room_id()
        return given or f"{mode.value}-{self.job.job_id}"

    async def shutdown(self, reason: str = "") -> None:
        """End the job as completed: run the shutdown callbacks, then stop what still runs.

        A job has one shutdown. All callers wait for it. An entrypoint that calls this, or waits in
        `run_until_shutdown`, then has one more `shutdown_callback_timeout` to return. An entrypoint
        that is busy elsewhere is cancelled.

        Args:
            reason: Why, for the shutdown callbacks. The first caller's reason counts.
        """
        run = self._running("shutdown()")
        run.note_shutdown()
        with run.waiting():
            await self._callbacks.run(reason, seconds_each=run.callback_seconds)
            run.end_entrypoint()

    def add_shutdown_callback(self, callback: ShutdownCallback) -> None:
        """Call `callback` when the job ends, however it ends. The last added is called first.

        Each callback has `shutdown_callback_timeout` seconds. An error is logged.

        Args:
            callback: Sync or async. It gets the reason if it has a required parameter, or one that
                is called `reason`.

        Raises:
            TypeError: The callback takes other arguments.
            RuntimeError: The job has shut down already.
        """
        self._callbacks.add(callback)

    def notify_meeting_joined(self) -> None:
        """Report that the room is joined. `connect()` does this by itself."""
        if not self._joined.is_set():
            self._joined.set()
            for call in self._when_joined:
                call()

    async def wait_for_meeting_joined(self, timeout: float = 30.0) -> bool:
        """Wait until the room is joined.

        Args:
            timeout: Seconds to wait at most.

        Returns:
            Whether the room is joined.
        """
        with trio.move_on_after(timeout):
            await self._joined.wait()
        return self._joined.is_set()

    async def wait_for_participant(self, participant_id: str | None = None) -> str | None:
        """Wait for a participant.

        Args:
            participant_id: Whom to wait for; None: for any participant.

        Returns:
            The id of the participant; None if the session ends first.

        Raises:
            ValueError: No room is joined.
        """
        if self.room is None:
            raise ValueError("there is no room: await ctx.connect() first")
        return await self.room.wait_for_participant(participant_id)

    async def run_until_shutdown(
        self, session: ManagedSession | None = None, wait_for_participant: bool = False
    ) -> None:
        """Run a session from joining the room to the end of the job.

        The steps are: connect, end the job with the session, wait for a participant,
        `session.start()`, wait for the end, `session.close()` once, shut down. Errors on the way
        come out. The session is then closed when the entrypoint ends, and so it is if the job is
        stopped. In a job that is being stopped it returns at once: otherwise a clean-up that calls
        it would wait for an end that waits for the clean-up.

        Args:
            session: The session to start and close; None: only the room.
            wait_for_participant: Wait for a participant before the session starts. If the room's
                session ends first, this returns.
        """
        run = self._running("run_until_shutdown()")
        if session is not None:
            self.add_shutdown_callback(session.close)
        if run.stopped:
            await run.wait_for_the_end()
            return
        ended = StopRequest()
        await self.connect()
        if self.room is not None:
            self.room.setup_session_end_callback(ended.request)
            self.nursery.start_soon(self._shut_down_after, ended)
            if wait_for_participant and await self.room.wait_for_participant() is None:
                await self.shutdown(ended.reason)
                return
        if session is not None:
            await call(session.start)
        with run.waiting():
            await run.wait_for_the_end()

    async def _shut_down_after(self, ended: StopRequest) -> None:
        await self.shutdown(await ended.wait())

    async def get_room_id(self) -> str:
        """Create a room over REST, and return its id.

        In the reference it is not a coroutine, and blocks.

        Raises:
            TokenError: There is no token.
            ApiError: The call fails.
        """
        return await self._room_creator(*self._creation())

    def _creation(self) -> tuple[str, str]:
        """Return what it takes to create a room: a token, and the API's base URL."""
        if not self.videosdk_auth:
            raise TokenError(
                "a room cannot be created without a token: set RoomOptions(auth_token=...), "
                "Options(auth_token=...), or VIDEOSDK_AUTH_TOKEN"
            )
        return self.videosdk_auth, self.room_options.signaling_base_url or "api.videosdk.live"

    @staticmethod
    async def create_room_static(
        auth_token: str, signaling_base_url: str = "api.videosdk.live"
    ) -> str:
        """Create a room over REST without a context, and return its id.

        Raises:
            ApiError: The call fails.
        """
        return await create_room(auth_token, signaling_base_url)

    def _adopt(self, *, job: JobInfo, token: str) -> None:
        """Set the job, for direct mode: there a context is made before its job is known."""
        self.job = job
        self._token = self._token or self.room_options.auth_token or token
        hide_passing(*self._secrets())

    def _begin(self, run: JobRun, nursery: trio.Nursery) -> None:
        """For `execution`: the job begins. This is the context of the calling task from here on."""
        self._run = run
        self._nursery = nursery
        _current.set(self)

    def _entrypoint_ended(self) -> None:
        """For `execution`: the nursery takes no more tasks."""
        self._nursery = None

    def _end(self) -> None:
        """For `execution`: the callbacks have run."""
        self._run = None

    def _playground_room(self) -> str:
        """Return the id of the room that the playground page can join; "" for none."""
        is_meant = self.room_options.playground and not self.want_console
        if self.room is None or not is_meant or self._transport is not TransportMode.VIDEOSDK:
            return ""
        return self.room.room_id

    def _secrets(self) -> tuple[str, ...]:
        """Return the texts that must not occur in an error."""
        tokens = (self._token, self.room_options.auth_token, self.videosdk_auth)
        return tuple({token for token in tokens if token})

    def _running(self, what: str) -> JobRun:
        if self._run is None and not trio.lowlevel.in_trio_run():
            raise RuntimeError(
                f"JobContext: {what} works in a job of vsdk_trio; what runs this one is another "
                "package's, so import WorkerJob from vsdk_trio, too"
            )
        if self._run is None:
            raise RuntimeError(f"JobContext: {what} works while the job runs, not before or after")
        return self._run


logger = get_logger(__name__)


async def join_room(
    run: JobRun,
    options: RoomOptions,
    mode: TransportMode,
    *,
    factory: RoomFactory,
    choose_room: Callable[[TransportMode], Awaitable[str]],
    request: Callable[[], RoomRequest],
) -> Room:
    """Join a room; `run` leaves it when the job ends.

    Cancelled, it leaves nothing behind, and raises nothing but `Cancelled`, whatever the transport
    raises.

    Args:
        run: The run of the job.
        options: Describe the room.
        mode: The transport.
        factory: Opens the room.
        choose_room: Finds an id if the options have none. It may create a room.
        request: Makes the request to join, after the id is known.

    Raises:
        OptionsError: The options ask for something impossible.
        RoomError: The room cannot be joined, or not in time.
    """
    options.check()
    for text in check_transport(options, mode):
        logger.warning("%s", text)
    if factory is open_room:
        require_transport(mode)  # before a room is created that could not be joined
    seconds = options.join_timeout_seconds
    with trio.move_on_after(math.inf if seconds is None else seconds):
        if not options.room_id:
            options.room_id = await choose_room(mode)
        try:
            return await run.hold(factory(mode, request()))
        except (Exception, BaseExceptionGroup) as error:
            # An error that a library raises because it was cancelled is no failure of the job.
            if all(isinstance(leaf, (Exception, trio.Cancelled)) for leaf in leaves(error)):
                await trio.lowlevel.checkpoint_if_cancelled()
            raise
    raise RoomError(not_in_time(options.room_id, seconds))


def not_in_time(room_id: str | None, seconds: float | None) -> str:
    """Return the error text for a room that was not joined within `join_timeout_seconds`."""
    return (
        f"the room {room_id or '(a new one)'} was not joined within {seconds:g} s "
        "(RoomOptions.join_timeout_seconds)"
    )
