"""Runs an entrypoint that needs asyncio as part of a job; see `vsdk_trio.aio.entrypoint`.

Knows the order: the thread outlives the shutdown callbacks, which outlive the entrypoint. What an
entrypoint is given is the business of `context` and `published`.
"""

from __future__ import annotations

import asyncio
import functools
import os
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

from ...errors import RoomError
from ...options.room import TransportMode
from ...telemetry.logs.loggers import get_logger
from ..job_context import JobContext, as_current, not_in_time
from ..job_run import JobRun
from . import published
from .bridge import Bridge, open_bridge
from .context import AsyncioJobContext

logger = get_logger(__name__)

# Its shutdown is one callback of ours: all of its own callbacks, each of which has up to 15 s
# there, the goodbye of its room, and the last telemetry.
SHUTDOWN_SECONDS: Final = 60.0

_NO_SESSIONS_HERE: Final = (
    "the room is a loopback room, in which an AgentSession of videosdk-agents hears and says "
    "nothing; choose another transport: VSDK_TRIO_TRANSPORT=websocket, or `dev --transport "
    "websocket --registry-port 8090`"
)

AsyncioEntrypoint = Callable[[Any], Awaitable[object]]


async def run_asyncio_entrypoint(function: AsyncioEntrypoint, ctx: JobContext) -> None:
    """Run `function` under asyncio, with a context for it; raises what it raises.

    Cancelled, its task is cancelled and waited for, for `shutdown_callback_timeout`.
    """
    run = ctx._running("an asyncio entrypoint")
    bridge = await run.hold(open_bridge(seconds=run.callback_seconds))
    await run.hold(_signal_works_in(bridge))
    bridge.stand_in = run.standing_in
    mode = ctx.room_options.effective_transport(os.environ)
    if mode is not TransportMode.LOOPBACK and published.is_installed():
        await _run_with_theirs(function, ctx, mode, bridge, run)
    else:
        if published.is_loaded():
            logger.warning(_NO_SESSIONS_HERE)
        await bridge.to_asyncio(_run_with_ours, function, AsyncioJobContext(ctx, bridge), bridge)


@asynccontextmanager
async def _signal_works_in(bridge: Bridge) -> AsyncGenerator[None, None]:
    """Around the body, `signal.signal` works in the asyncio thread, as in the published client.

    There asyncio has the main thread, and agents set handlers in their entrypoint. Python refuses
    that in any other thread, and the job would fail.
    """
    original = signal.signal

    @functools.wraps(original)
    def set_handler(signalnum: int, handler: Any) -> Any:
        if asyncio._get_running_loop() is bridge.loop:
            return bridge.loop.set_signal_handler(signalnum, handler)
        return original(signalnum, handler)

    signal.signal = set_handler
    try:
        yield
    finally:
        signal.signal = original


async def _run_with_ours(
    function: AsyncioEntrypoint, context: AsyncioJobContext, bridge: Bridge
) -> None:
    bridge.entrypoint_task = asyncio.current_task()
    with as_current(context):
        await function(context)


async def _run_with_theirs(
    function: AsyncioEntrypoint,
    ctx: JobContext,
    mode: TransportMode,
    bridge: Bridge,
    run: JobRun,
) -> None:
    theirs = await bridge.to_asyncio(_make_theirs, ctx, mode)
    stop_has_arrived = partial(bridge.to_trio, run.wait_for_the_end)
    published.let_go_when_stopped(theirs, lambda: run.stopped, stop_has_arrived)
    shut_down = partial(bridge.to_asyncio, published.shut_down, theirs)
    # The first to be added, so that it is the last to run.
    ctx._callbacks.add(shut_down, seconds=SHUTDOWN_SECONDS)
    options = ctx.room_options
    is_joining = mode is TransportMode.VIDEOSDK and options.join_meeting
    seconds = options.join_timeout_seconds if is_joining else None
    await bridge.to_asyncio(_run_as_theirs, function, theirs, ctx, bridge, seconds)


async def _make_theirs(ctx: JobContext, mode: TransportMode) -> Any:
    # Loading the package takes seconds, and is done here for that: Trio goes on meanwhile.
    return published.make_context(ctx, mode, asyncio.get_running_loop())


async def _run_as_theirs(
    function: AsyncioEntrypoint,
    theirs: Any,
    ctx: JobContext,
    bridge: Bridge,
    join_seconds: float | None,
) -> None:
    task = asyncio.current_task()
    assert task is not None
    joining = published.Joining(theirs)
    tell = partial(bridge.soon, ctx.notify_meeting_joined)
    watching = asyncio.create_task(joining.watch(join_seconds, tell, task.cancel))
    try:
        with published.living_in(theirs), as_current(theirs):
            await function(theirs)
    except asyncio.CancelledError:
        if joining.is_overdue:
            raise RoomError(not_in_time(ctx.room_options.room_id, join_seconds)) from None
        raise
    except Exception as error:
        if (cause := joining.cause_of(error)) is not None:
            raise RoomError(f"the room could not be joined: {cause}") from error
        raise
    finally:
        watching.cancel()
