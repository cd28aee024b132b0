"""The decorator for an entrypoint that needs asyncio; `vsdk_trio.aio` exports it.

`runner.aio` runs such a job, and is loaded only then.
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

    In the job process it runs under asyncio, in a thread of its own. It gets a `JobContext` of
    `videosdk-agents`, built from the assignment, if that is installed. Otherwise, and in a loopback
    room, it gets an `AsyncioJobContext` with the same methods. Shutdown callbacks, the outcome,
    `get_current_job_context()` (of either package) and termination work as for any entrypoint. If
    the job is stopped, its task is cancelled and has `shutdown_callback_timeout` seconds to end.
    Then the callbacks run.

    A second mark changes nothing. The worker of `videosdk-agents` calls the function as it is.

    Args:
        function: The entrypoint.

    Returns:
        The entrypoint, marked.

    Raises:
        EntrypointError: `function` is no `async def` function.
    """
    if is_for_asyncio(function):
        return function
    if not inspect.iscoroutinefunction(function):
        raise EntrypointError(
            f"@vsdk_trio.aio.entrypoint is for an `async def` function, got {function!r}"
        )

    @functools.wraps(function)
    async def run_under_asyncio(*arguments: Any, **named: Any) -> None:
        # Arguments before the context are the object of a method, or those of a partial.
        *bound, ctx = arguments
        if is_published(ctx, "JobContext"):
            await function(*arguments, **named)
            return
        from .aio.job import run_asyncio_entrypoint

        await run_asyncio_entrypoint(functools.partial(function, *bound, **named), ctx)

    wrapped: Any = run_under_asyncio
    setattr(wrapped, ASYNCIO_MARK, True)
    return wrapped  # type: ignore[no-any-return]  # to a checker it stays what the user wrote
