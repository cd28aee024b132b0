"""Exception groups, taken apart in one place. A leaf.

A nursery puts each exception of its tasks into a group, and nurseries nest. The code that knows
what an exception means wants the exception and not the groups.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, overload

_E = TypeVar("_E", bound=BaseException)


@overload
def leaves(error: BaseExceptionGroup[_E]) -> Iterator[_E]: ...


@overload
def leaves(error: BaseException) -> Iterator[BaseException]: ...


def leaves(error: BaseException) -> Iterator[Any]:
    """The exceptions in a group, however deep, in their order; or `error` itself if it is none."""
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            yield from leaves(member)
    else:
        yield error


def unwrapped(error: BaseException) -> BaseException:
    """What is in a group of one, however deep; any other exception or group as it is."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


@contextmanager
def single_errors() -> Generator[None]:
    """Raise a group that holds exactly one exception, however deep, as that exception."""
    only: BaseException | None = None
    try:
        yield
    except BaseExceptionGroup as group:
        only = unwrapped(group)
        if isinstance(only, BaseExceptionGroup):
            raise
    if only is not None:
        raise only


@contextmanager
def without_own_group() -> Generator[None]:
    """Take off the group that one nursery puts around a single exception.

    The exception may be a group itself, and stays one.
    """
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
