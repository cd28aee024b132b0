"""Agents that were written for asyncio: `@vsdk_trio.aio.entrypoint` and nothing else changes.

The front door only; what is behind it is in `runner.aio`, and loaded when such a job runs.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from .errors import EntrypointError

_F = TypeVar("_F", bound=Callable[..., Awaitable[object]])


def entrypoint(function: _F) -> _F:
    """Mark an `async def` function as an entrypoint that needs asyncio.

    In the job process it runs under asyncio, in a thread of its own. It is given the
    `JobContext` of `videosdk-agents` where that is installed, built from the assignment, and else
    one of ours with the same methods; a loopback room is always one of ours. Its shutdown
    callbacks, its outcome, `get_current_job_context()` (either package's) and the job's
    termination work as for any other entrypoint: stopped, its task is cancelled, has
    `shutdown_callback_timeout` seconds to end, and then the callbacks run.

    Raises `EntrypointError` for what is no `async def` function.
    """
    if not inspect.iscoroutinefunction(function):
        raise EntrypointError(
            f"@vsdk_trio.aio.entrypoint is for an `async def` function, got {function!r}"
        )

    @functools.wraps(function)
    async def run_under_asyncio(*arguments: Any, **named: Any) -> None:
        from .runner.aio.job import run_asyncio_entrypoint

        # What comes before the context is the object of a method, or a partial's.
        *bound, ctx = arguments
        await run_asyncio_entrypoint(functools.partial(function, *bound, **named), ctx)

    wrapped: Any = run_under_asyncio
    return wrapped  # type: ignore[no-any-return]  # to a checker it stays what the user wrote
