"""Runs one entrypoint to its end, and says how it ended. Shared by job processes and direct mode.

Foreign code meets ours here: whatever the entrypoint raises becomes an outcome. Knows the order of
a job's life; must not know frames, processes or signals.

    support nursery: the room, which says goodbye last
        shutdown callbacks, shielded, each with a deadline
            job nursery: the entrypoint in its body, and the job's own tasks

All of it is there before a job is: a job process waits for its job in the innermost body, so that
only the entrypoint is left to be called.
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
"""Waits for a job; returns its context, or None where none is to be run."""


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

    As `run_when_it_comes`, of a job that is there.
    """

    async def at_once() -> JobContext:
        return ctx

    return await run_when_it_comes(
        entrypoint, at_once, callback_seconds=callback_seconds, stop=stop
    )


async def run_when_it_comes(
    entrypoint: Entrypoint, receive_job: ReceiveJob, *, callback_seconds: float, stop: StopRequest
) -> Outcome:
    """Await `receive_job`, run `entrypoint` with its context, then the callbacks, leave the room.

    `callback_seconds` bounds each callback and each goodbye. A request to `stop` cancels the
    entrypoint; one that came before the start keeps it from running at all, and one that came
    before the job cancels the `receive_job`. What that raises comes out.

    Completed: it returned, or ended by `ctx.shutdown()` or `sys.exit(0)`. Failed: it, or a task in
    `ctx.nursery`, or its room, raised. Cancelled: it was stopped, or there was no job; the error is
    the reason. Cancelling this call does what a stop does, callbacks included, and raises
    `Cancelled`.
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
    """Whether it is one more Ctrl-C from somebody who has asked for the stop already."""
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
