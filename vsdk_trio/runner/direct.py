"""Direct mode: runs the entrypoint here and now, in the user's own process, under `trio.run`.

A job runs as in a job process, but signals end it and not frames. Knows no frames.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType

import attrs
import trio

from .._exceptions import leaves
from ..options.worker import Options, TokenSource
from ..rooms.playground import show_playground
from ..system.signals import ending_signals
from ..system.stopping import Request, Stopping
from ..telemetry.logs.loggers import get_logger
from .callbacks import call
from .execution import Entrypoint, run_entrypoint
from .job_context import JobContext
from .job_run import StopRequest
from .outcome import Outcome, hint_for

logger = get_logger(__name__)


def run_direct(
    entrypoint: Entrypoint,
    ctx: JobContext,
    *,
    options: Options | None = None,
    token: TokenSource | None = None,
) -> None:
    """Run `entrypoint(ctx)` to its end, shutdown callbacks included.

    SIGINT, SIGTERM and SIGHUP end it in order, and this returns. A second SIGINT, at least 0.5 s
    later, interrupts the clean-up, and so does each one after it. Any other repeated signal changes
    nothing.

    Args:
        entrypoint: The user's entrypoint.
        ctx: Its context.
        options: Permissions, the callbacks' deadline, and `initialize_process_fnc`, which runs
            first; None: `Options()`.
        token: For a context that has none of its own; None: `options.auth_token`.

    Raises:
        BaseException: What the entrypoint raised.
    """
    options = Options() if options is None else options
    token = options.auth_token if token is None else token
    outcome = trio.run(partial(_run, entrypoint, ctx, options, token))
    if outcome.exception is not None:
        for hint in filter(None, map(hint_for, leaves(outcome.exception))):
            outcome.exception.add_note(hint)
        raise outcome.exception
    if outcome.status == "cancelled":
        logger.info("the entrypoint was stopped: %s", outcome.error)


async def _run(
    entrypoint: Entrypoint, ctx: JobContext, options: Options, token: TokenSource | None
) -> Outcome:
    stop = StopRequest()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_show_playground, ctx)
        with _stopped_by_signals(stop):
            outcome = await run_entrypoint(
                partial(_prepared, entrypoint, options, token),
                ctx,
                callback_seconds=options.shutdown_callback_timeout,
                stop=stop,
            )
        nursery.cancel_scope.cancel()
    return outcome


async def _show_playground(ctx: JobContext) -> None:
    await ctx._joined.wait()
    if room_id := ctx._playground_room():
        show_playground(room_id, ctx.videosdk_auth or "")


@contextmanager
def _stopped_by_signals(stop: StopRequest) -> Iterator[None]:
    """During the body, signals request the end, as `stopping.TABLE` says.

    The handlers decide by themselves, so that a hurry also interrupts code that blocks the event
    loop. Python delivers signals to the main thread only; in another thread this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    stopping, token = Stopping(), trio.lowlevel.current_trio_token()
    before = {number: signal.getsignal(number) for number in ending_signals()}

    def take(number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        request = stopping.request_of(number, time.monotonic())
        has_changed = stopping.ask(request)
        if request is Request.HURRY:
            token.run_sync_soon(logger.warning, "a second %s: the clean-up is interrupted", name)
            # Trio's own handler, which raises KeyboardInterrupt where that does no harm.
            interrupt = before[signal.SIGINT]
            (interrupt if callable(interrupt) else signal.default_int_handler)(number, frame)
        elif has_changed:
            token.run_sync_soon(stop.request, f"received {name}")
        else:
            token.run_sync_soon(logger.info, "%s changes nothing: the job is ending", name)

    for number in before:
        signal.signal(number, take)
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is take:  # else the user's code has its own
                signal.signal(number, handler)


async def _prepared(
    entrypoint: Entrypoint, options: Options, token: TokenSource | None, ctx: JobContext
) -> None:
    """Do what a worker and a job process do before the entrypoint, then run it."""
    permissions = attrs.asdict(options.permissions)
    ctx._adopt(
        job=attrs.evolve(ctx.job, agent_id=options.agent_id, permissions=permissions),
        token=str(await call(token)) if callable(token) else token or "",
    )
    if options.initialize_process_fnc is not None:
        await call(options.initialize_process_fnc, ctx.process)
    await entrypoint(ctx)
