"""Runs one entrypoint to its end, and says how it ended. Shared by job processes and direct mode.

Foreign code meets ours here: whatever the entrypoint raises becomes an outcome. Knows the order of
a job's life; must not know frames, processes or signals.

    support nursery: the room, which says goodbye last
        shutdown callbacks, shielded, each with a deadline
            job nursery: the entrypoint in its body, and the job's own tasks
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import attrs
import trio

from .job_context import JobContext
from .job_run import JobRun
from .outcome import Outcome, describe_error, failure, leaves, without_cancelled
from .stop import StopRequest

Entrypoint: TypeAlias = Callable[[JobContext], Awaitable[object]]


@attrs.define
class _Progress:
    """How far the job has come; filled in while it runs, read when it has ended."""

    returned: bool = False
    stopped: bool = False


async def run_entrypoint(
    entrypoint: Entrypoint, ctx: JobContext, *, callback_seconds: float, stop: StopRequest
) -> Outcome:
    """Run `entrypoint(ctx)`, then the shutdown callbacks, then leave the room.

    `callback_seconds` bounds each callback and each goodbye. A request to `stop` cancels the
    entrypoint; one that came before the start keeps it from running at all.

    Completed: it returned, or ended by `ctx.shutdown()` or `sys.exit(0)`. Failed: it, or a task in
    `ctx.nursery`, or its room, raised. Cancelled: it was stopped; the error is the reason.
    Cancelling this call does what a stop does, callbacks included, and raises `Cancelled`.
    """
    if stop.is_requested:
        await trio.lowlevel.checkpoint()
        return Outcome(status="cancelled", error=stop.reason)
    progress = _Progress()
    raised: BaseException | None = None
    try:
        await _run(entrypoint, ctx, callback_seconds, stop, progress)
    except BaseException as error:
        raised = without_cancelled(error)
        if raised is None:
            raise
    # A cancellation that came in the same group as an error must not get lost with it.
    await trio.lowlevel.checkpoint_if_cancelled()
    if raised is not None and not _only_hurries(raised, stop):
        return failure(raised, ctx._secrets())
    if progress.stopped and not progress.returned:
        return Outcome(status="cancelled", error=stop.reason)
    return Outcome(status="completed")


def _only_hurries(error: BaseException, stop: StopRequest) -> bool:
    """Whether it is one more Ctrl-C from somebody who has asked for the stop already."""
    return stop.is_requested and all(isinstance(e, KeyboardInterrupt) for e in leaves(error))


async def _run(
    entrypoint: Entrypoint,
    ctx: JobContext,
    callback_seconds: float,
    stop: StopRequest,
    progress: _Progress,
) -> None:
    async with trio.open_nursery() as support:
        run = JobRun(support=support, callback_seconds=callback_seconds)
        with ctx._living_in(run):
            reason = "the entrypoint returned"
            try:
                with run.scope, stop.calling(run.stop):
                    async with trio.open_nursery() as nursery:
                        with ctx._offering(nursery):
                            await entrypoint(ctx)
                        progress.returned = True
                        nursery.cancel_scope.cancel()
            except BaseException as error:
                foreign = without_cancelled(error)
                reason = "cancelled" if foreign is None else describe_error(foreign, ctx._secrets())
                raise
            finally:
                progress.stopped = run.stopped
                try:
                    await ctx._callbacks.run(
                        stop.reason if run.stopped else reason, seconds_each=callback_seconds
                    )
                finally:
                    run.release()
