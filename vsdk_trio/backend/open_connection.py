"""`open_backend_connection`: the class as one context manager, with the same signature."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import ParamSpec

from .connection import BackendConnection

_Arguments = ParamSpec("_Arguments")


def _opener_of(
    construct: Callable[_Arguments, BackendConnection],
) -> Callable[_Arguments, AbstractAsyncContextManager[BackendConnection]]:
    def open_backend_connection(
        *args: _Arguments.args, **kwargs: _Arguments.kwargs
    ) -> AbstractAsyncContextManager[BackendConnection]:
        """Build a `BackendConnection` and run it for the length of an `async with` block.

        Takes what the class takes; the block begins once registered, and its end leaves in order.
        """
        return construct(*args, **kwargs)

    return open_backend_connection


open_backend_connection = _opener_of(BackendConnection)
