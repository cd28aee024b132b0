"""The mark of an entrypoint that needs asyncio; its front door is `vsdk_trio.aio`.

What is behind it is in `runner.aio`, and loaded when such a job runs.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from ..errors import EntrypointError
from ..jobs.entrypoint import ASYNCIO_MARK, is_for_asyncio
from ..options.published import is_published

_F = TypeVar("_F", bound=Callable[..., Awaitable[object]])


def entrypoint(function: _F) -> _F:
    """Mark an `async def` function as an entrypoint that needs asyncio.

    In the job process it runs under asyncio, in a thread of its own. It is given the
    `JobContext` of `videosdk-agents` where that is installed, built from the assignment, and else
    one of ours with the same methods; a loopback room is always one of ours. Its shutdown
    callbacks, its outcome, `get_current_job_context()` (either package's) and the job's
    termination work as for any other entrypoint: stopped, its task is cancelled, has
    `shutdown_callback_timeout` seconds to end, and then the callbacks run.

    Marked twice is marked once. Where the worker of `videosdk-agents` calls it, with a context of
    its own, it is called as it is.

    Raises `EntrypointError` for what is no `async def` function.
    """
    if is_for_asyncio(function):
        return function
    if not inspect.iscoroutinefunction(function):
        raise EntrypointError(
            f"@vsdk_trio.aio.entrypoint is for an `async def` function, got {function!r}"
        )

    @functools.wraps(function)
    async def run_under_asyncio(*arguments: Any, **named: Any) -> None:
        # What comes before the context is the object of a method, or a partial's.
        *bound, ctx = arguments
        if is_published(ctx, "JobContext"):
            await function(*arguments, **named)
            return
        from .aio.job import run_asyncio_entrypoint

        await run_asyncio_entrypoint(functools.partial(function, *bound, **named), ctx)

    wrapped: Any = run_under_asyncio
    setattr(wrapped, ASYNCIO_MARK, True)
    return wrapped  # type: ignore[no-any-return]  # to a checker it stays what the user wrote
