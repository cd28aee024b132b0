"""Runs one entrypoint to its end, and returns how it ended; for job processes and direct mode.

Each exception of the entrypoint becomes an outcome. Knows the order of a job's life; knows neither
frames nor processes nor signals.

    support nursery: the room, which says goodbye last
        shutdown callbacks, shielded, each with a deadline
            job nursery: the entrypoint in its body, and the job's own tasks

All of it is open before a job comes. A job process waits for its job in the innermost body, so that
only the call of the entrypoint remains.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import attrs
import trio

from .._exceptions import leaves
from .job_context import JobContext, as_current
from .job_run import JobRun, StopRequest
from .outcome import Outcome, describe_error, failure, without_cancelled

Entrypoint: TypeAlias = Callable[[JobContext], Awaitable[object]]
ReceiveJob: TypeAlias = Callable[[], Awaitable[JobContext | None]]
"""Waits for a job and returns its context; None if no job is to run."""


@attrs.define
class _Progress:
    """How far the job has come; filled in while it runs, read when it has ended."""

    ctx: JobContext | None = None
    """Of the job, once its entrypoint is called."""
    returned: bool = False
    stopped: bool = False


async def run_entrypoint(
    entrypoint: Entrypoint, ctx: JobContext, *, callback_seconds: float, stop: StopRequest
) -> Outcome:
    """Run `entrypoint(ctx)`, then the shutdown callbacks, then leave the room.

    See `run_when_it_comes`. This one has a job already.
    """

    async def at_once() -> JobContext:
        return ctx

    return await run_when_it_comes(
        entrypoint, at_once, callback_seconds=callback_seconds, stop=stop
    )


async def run_when_it_comes(
    entrypoint: Entrypoint, receive_job: ReceiveJob, *, callback_seconds: float, stop: StopRequest
) -> Outcome:
    """Wait for a job, run the entrypoint, then the shutdown callbacks, then leave the room.

    Cancelling this call does what a stop does, callbacks included, and raises `Cancelled`.

    Args:
        entrypoint: The user's entrypoint.
        receive_job: Waits for the job. Its exceptions come out.
        callback_seconds: Seconds that each callback and each goodbye may take.
        stop: A request cancels the entrypoint. A request before the start prevents it, and a
            request before the job cancels `receive_job`.

    Returns:
        Completed: the entrypoint returned, or ended by `ctx.shutdown()` or `sys.exit(0)`. Failed:
        it, a task in `ctx.nursery` or its room raised. Cancelled: it was stopped, or there was no
        job; the error is the reason.
    """
    if stop.is_requested:
        await trio.lowlevel.checkpoint()
        return Outcome(status="cancelled", error=stop.reason)
    progress = _Progress()
    raised: BaseException | None = None
    try:
        with as_current(None):  # until the job's own is set
            await _run(entrypoint, receive_job, callback_seconds, stop, progress)
    except BaseException as error:
        raised = without_cancelled(error)
        if raised is None or progress.ctx is None:
            raise
    # A cancellation that came in the same group as an error must not get lost with it.
    await trio.lowlevel.checkpoint_if_cancelled()
    if progress.ctx is None:
        return Outcome(status="cancelled", error=stop.reason)
    if raised is not None and not _only_hurries(raised, stop):
        return failure(raised)
    if progress.stopped and not progress.returned:
        return Outcome(status="cancelled", error=stop.reason)
    return Outcome(status="completed")


def _only_hurries(error: BaseException, stop: StopRequest) -> bool:
    """Return whether the error is only another Ctrl-C after the stop was requested."""
    return stop.is_requested and all(isinstance(e, KeyboardInterrupt) for e in leaves(error))


async def _run(
    entrypoint: Entrypoint,
    receive_job: ReceiveJob,
    callback_seconds: float,
    stop: StopRequest,
    progress: _Progress,
) -> None:
    async with trio.open_nursery() as support:
        run = JobRun(support=support, callback_seconds=callback_seconds)
        reason = "the entrypoint returned"
        try:
            with run.scope, stop.calling(run.stop):
                async with trio.open_nursery() as nursery:
                    ctx = await receive_job()
                    if ctx is not None and not stop.is_requested:
                        progress.ctx = ctx
                        ctx._begin(run, nursery)
                        try:
                            await entrypoint(ctx)
                        finally:
                            ctx._entrypoint_ended()
                        progress.returned = True
                    nursery.cancel_scope.cancel()
        except BaseException as error:
            if progress.ctx is not None:
                foreign = without_cancelled(error)
                reason = "cancelled" if foreign is None else describe_error(foreign)
            raise
        finally:
            progress.stopped = run.stopped
            if progress.ctx is not None:
                reason = stop.reason if run.stopped else reason
                try:
                    await progress.ctx._callbacks.run(reason, seconds_each=callback_seconds)
                finally:
                    run.release()
                    progress.ctx._end()
