"""The `JobContext` of the published package, `videosdk-agents`, made from ours.

The only place that knows its names. Everything here runs in the asyncio thread.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs

from ...errors import EntrypointError
from ...options.room import RoomOptions, TransportMode
from ...telemetry.logs.loggers import get_logger
from ..job_context import JobContext

logger = get_logger(__name__)

PACKAGE = "videosdk.agents"
VERSIONS = "videosdk-agents>=1.0.30,<1.1"
"""The versions whose private names are known here; `pyproject.toml` has the same bound."""
_MODULE_NAMES = (
    "_set_current_job_context",
    "_reset_current_job_context",
    "_enter_session_scope",
    "_exit_session_scope",
)
_CONTEXT_NAMES = ("_meeting_joined_event", "_is_shutting_down", "_shutdown_complete")
# What the package's session says, which has only logged why it could not join.
_NOT_THE_REASON = "the earlier error is the real one"
# What a context of ours has besides: the job, its process with what `initialize_process_fnc` has
# stored, and what the agent may do.
_OF_OURS = ("job", "process", "permissions")


def is_installed() -> bool:
    """Whether the published package is there. Loads nothing of it."""
    try:
        return importlib.util.find_spec(PACKAGE) is not None
    except ModuleNotFoundError:  # not even `videosdk` is
        return False


def is_loaded() -> bool:
    """Whether the agent has imported it."""
    return f"{PACKAGE}.agent_session" in sys.modules


def _module() -> Any:
    module = importlib.import_module(f"{PACKAGE}.job")
    _require(module, _MODULE_NAMES)
    return module


def _require(owner: object, names: tuple[str, ...]) -> None:
    """Raise `EntrypointError` if the package has changed its private names."""
    if missing := [name for name in names if not hasattr(owner, name)]:
        raise EntrypointError(
            f"the installed {PACKAGE} cannot run jobs of vsdk_trio: it has no "
            f"{', '.join(missing)}; install '{VERSIONS}'"
        )


def make_context(ctx: JobContext, mode: TransportMode, loop: object) -> Any:
    """Its context for this job, with the assignment's room, token, options and metadata."""
    published = _module()
    options = published.RoomOptions(
        transport_mode=mode.value, **_fields(published, ctx.room_options)
    )
    options.room_id = options.room_id or ctx.job.room_id or None
    options.auth_token = ctx.videosdk_auth
    theirs = published.JobContext(room_options=options, metadata=ctx.metadata, loop=loop)
    _require(theirs, _CONTEXT_NAMES)
    for name in _OF_OURS:
        if not hasattr(theirs, name):
            setattr(theirs, name, getattr(ctx, name))
    return theirs


def let_go_when_stopped(
    theirs: Any, is_stopped: Callable[[], bool], stop_has_arrived: Callable[[], Awaitable[None]]
) -> None:
    """Change `run_until_shutdown()` so that in a stopped job it only awaits `stop_has_arrived()`.

    Otherwise a clean-up that calls it would wait for an end that waits for the clean-up. Only this
    one context is changed, not its class.
    """
    waits: Callable[..., Awaitable[None]] = theirs.run_until_shutdown

    async def run_until_shutdown(*arguments: Any, **named: Any) -> None:
        if is_stopped():
            await stop_has_arrived()
        else:
            await waits(*arguments, **named)

    theirs.run_until_shutdown = run_until_shutdown


def _fields(published: Any, options: RoomOptions) -> dict[str, Any]:
    """Our room options under its names, structured ones in its classes."""
    given: dict[str, Any] = {}
    for field in attrs.fields(RoomOptions):
        value = getattr(options, field.name)
        if field.name.startswith("_") or value is None:
            continue
        given[field.name] = _translated(published, field.name, value)
    return given


def _translated(published: Any, path: str, value: Any) -> Any:
    if not attrs.has(type(value)):
        return value
    its_class = getattr(published, type(value).__name__)
    known = its_class.__dataclass_fields__
    own_class: type[attrs.AttrsInstance] = type(value)
    usual = own_class()
    given: dict[str, Any] = {}
    for field in attrs.fields(own_class):
        inner = getattr(value, field.name)
        if field.name in known:
            given[field.name] = _translated(published, f"{path}.{field.name}", inner)
        elif inner != getattr(usual, field.name):
            logger.warning("videosdk-agents has no %s.%s; it has no effect", path, field.name)
    return its_class(**given)


@contextmanager
def living_in(theirs: Any) -> Iterator[None]:
    """During the body this task is the job's, as `get_current_job_context()` sees it."""
    published = _module()
    token = published._set_current_job_context(theirs)
    scope = published._enter_session_scope()
    try:
        yield
    finally:
        published._exit_session_scope(scope)
        published._reset_current_job_context(token)


class Joining:
    """Watches the `connect()` of one context. Only this context is changed, not its class.

    The package only logs a room that cannot be joined, and its entrypoint then waits for ever.
    """

    def __init__(self, theirs: Any) -> None:
        self._theirs = theirs
        self._begun = asyncio.Event()
        self._error: Exception | None = None
        self.is_overdue = False
        connects = theirs.connect

        async def connect(*arguments: Any, **named: Any) -> None:
            self._begun.set()
            try:
                await connects(*arguments, **named)
            except Exception as error:
                self._error = error
                raise

        theirs.connect = connect

    async def watch(
        self, seconds: float | None, tell: Callable[[], object], give_up: Callable[[], object]
    ) -> None:
        """Call `tell` once the room is joined, or `give_up` once it took too long.

        Args:
            seconds: How long it may take from `connect()` on; None: as long as it takes.
            tell: For a room that is joined.
            give_up: For one that is not joined in time; `is_overdue` is set by then.
        """
        await self._begun.wait()
        try:
            async with asyncio.timeout(seconds):
                await self._theirs._meeting_joined_event.wait()
        except TimeoutError:
            self.is_overdue = True
            give_up()
        else:
            tell()

    def cause_of(self, error: Exception) -> Exception | None:
        """What `connect()` raised, where `error` says no more than that something came before."""
        return self._error if _NOT_THE_REASON in str(error) else None


async def shut_down(theirs: Any) -> None:
    """Run its shutdown callbacks and leave its room, once; wait for the end of it."""
    if theirs._is_shutting_down:
        await theirs._shutdown_complete.wait()
    else:
        await theirs.shutdown()
