"""The fan-out: one `Observe` that tells everybody who listens.

Knows nothing of what is observed, or of who listens and why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Generic, TypeAlias, TypeVar

from ..logs.loggers import get_logger

logger = get_logger(__name__)


_T = TypeVar("_T")

Handlers: TypeAlias = Mapping[type[Any], Callable[[Any], None]]
"""What is to be called with an observation of each type."""


class Listener(Generic[_T]):
    """Somebody who listens to some kinds of observations, each with a function of its own.

    `Observers` calls that at once, and nothing for the other kinds: a job is waiting meanwhile.
    """

    def __init__(self, handlers: Handlers) -> None:
        self.handlers = handlers

    def __call__(self, observation: _T) -> None:
        """Take one observation, if it is of a kind that is listened to."""
        if (handle := self.handlers.get(type(observation))) is not None:
            handle(observation)


_Told: TypeAlias = tuple[tuple[Callable[[_T], None], Callable[[_T], None]], ...]


class Observers(Generic[_T]):
    """Tells everybody who listens, in the order in which they came; itself one.

    A listener that raises has a bug, and the emitter is in the middle of a job: this is the one
    place where it is caught. It is not called again, since it would raise again or tell half of
    the truth; that is one error in the log, and in `dropped`, so that `/health` can say it.
    """

    def __init__(self) -> None:
        self._listeners: tuple[Callable[[_T], None], ...] = ()
        # For each type of observation seen so far, who is told of it, and what is called.
        self._told: dict[type[Any], _Told[_T]] = {}
        self.dropped: list[str] = []
        """Who is not told any more, in words for a person."""

    def __call__(self, observation: _T) -> None:
        """Tell of it. Never raises for what a listener does."""
        kind = type(observation)
        for listener, handle in self._told.get(kind) or self._who_is_told(kind):
            try:
                handle(observation)
            except Exception as bug:  # see the class
                self.remove(listener)
                name = getattr(listener, "__qualname__", type(listener).__qualname__)
                self.dropped.append(f"{name} failed and is not told any more: {bug!r}")
                logger.error("%s", self.dropped[-1], exc_info=bug)

    def add(self, listener: Callable[[_T], None]) -> None:
        """From now on, `listener` is told. It must not block; what is slow belongs elsewhere."""
        self._listeners = (*self._listeners, listener)
        self._told.clear()

    def remove(self, listener: Callable[[_T], None]) -> None:
        """From now on it is not. Does nothing for one that is not there."""
        self._listeners = tuple(kept for kept in self._listeners if kept != listener)
        self._told.clear()

    def _who_is_told(self, kind: type[Any]) -> _Told[_T]:
        told: list[tuple[Callable[[_T], None], Callable[[_T], None]]] = []
        for listener in self._listeners:
            if not isinstance(listener, Listener):
                told.append((listener, listener))
            elif (handle := listener.handlers.get(kind)) is not None:
                told.append((listener, handle))
        self._told[kind] = tuple(told)
        return self._told[kind]

    @contextmanager
    def listening(self, listener: Callable[[_T], None]) -> Iterator[None]:
        """Tell `listener` for the length of the block."""
        self.add(listener)
        try:
            yield
        finally:
            self.remove(listener)
