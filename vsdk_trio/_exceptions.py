"""Exception groups split once, at the edge that knows what they mean. A leaf."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def single_errors() -> Generator[None]:
    """Let a group that holds exactly one exception, however deep, come out as that exception."""
    only: BaseException | None = None
    try:
        yield
    except BaseExceptionGroup as group:
        only = _only(group)
        if only is None:
            raise
    if only is not None:
        raise only


@contextmanager
def without_own_group() -> Generator[None]:
    """Take off what one nursery puts around a single exception, which may be a group itself."""
    only: BaseException | None = None
    try:
        yield
    except BaseExceptionGroup as group:
        errors = list(group.exceptions)
        if len(errors) > 1:
            raise
        only = errors[0]
    if only is not None:
        raise only


def _only(error: BaseException) -> BaseException | None:
    if not isinstance(error, BaseExceptionGroup):
        return error
    return _only(error.exceptions[0]) if len(error.exceptions) == 1 else None
