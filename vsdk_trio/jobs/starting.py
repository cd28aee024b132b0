"""What a failed start of a job process means: whether another attempt may succeed.

Pure, and the only place for this. A failure that passes is a shortage or a time-out: another
attempt may succeed. After any other failure, another attempt with the same program fails as well.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from .._exceptions import leaves
from ..errors import JobProcessError
from ..system.shortages import resource_of

PREFLIGHT_SECONDS: Final = 300.0
"""Seconds in which a worker must get its first job process before it ends with an error."""

FAILURES_IN_A_ROW: Final = 2
"""So many failures that pass, without a success, mean that no job can be run at the moment. One
that does not pass means it at once."""

_SHORTAGE_WORDS: Final = (
    "MemoryError",
    "can't start new thread",
    "Cannot allocate memory",
    "Too many open files",
    "No space left on device",
    "Resource temporarily unavailable",
)
_KILLED_FROM_OUTSIDE: Final = frozenset({-1, -9, -15})  # SIGHUP, SIGKILL, SIGTERM


# What a mistake in the code raises, and raises again.
_MISTAKES: Final = (ImportError, NameError, AttributeError, TypeError, SyntaxError)


def start_passes(error: OSError) -> bool:
    """Return whether the system may start a process the next time: it was short of something."""
    return resource_of(error, is_starting=True) is not None


def loading_passes(error: BaseException) -> bool:
    """Return whether the user's code may load the next time: it was a shortage, or a network."""
    return all(
        isinstance(leaf, (ConnectionError, TimeoutError)) or resource_of(leaf) is not None
        for leaf in leaves(error)
    )


def initializing_passes(error: BaseException) -> bool:
    """Return whether `initialize_process_fnc` may succeed the next time.

    It may need other services, so every error may pass, except a mistake in its code.
    """
    return loading_passes(error) or not isinstance(error, _MISTAKES)


def exit_passes(returncode: int, last_words: Sequence[str]) -> bool:
    """Return whether another attempt may succeed after a process that ended before it was ready.

    It may if the process was killed from outside, or its last lines of stderr name a shortage.
    """
    if returncode in _KILLED_FROM_OUTSIDE:
        return True
    return any(word in line for line in last_words[-1:] for word in _SHORTAGE_WORDS)


class Starts:
    """Counts how starts of job processes have ended, and says whether jobs can be run.

    A process that becomes ready proves it, until one fails for good, or `FAILURES_IN_A_ROW` of them
    fail. `doubt` requests such a proof if there was none yet.
    """

    def __init__(self) -> None:
        self._is_proven = False
        self._is_doubted = False
        # Of older failures only the number counts, and that is bounded.
        self._failures: deque[JobProcessError] = deque(maxlen=FAILURES_IN_A_ROW)

    def __repr__(self) -> str:
        return f"<Starts proven={self._is_proven}, {len(self._failures)} failed since>"

    @property
    def is_proven(self) -> bool:
        """Whether a process has come up, ever."""
        return self._is_proven

    @property
    def wants_probe(self) -> bool:
        """Whether to start a process only to see whether it comes up."""
        return self.trouble is not None

    @property
    def hopeless(self) -> JobProcessError | None:
        """The error if no process will ever come up: none has, and the last failure is lasting."""
        if self._is_proven or not self._failures or self._failures[-1].passes:
            return None
        return self._failures[-1]

    @property
    def trouble(self) -> str | None:
        """Why no job can be run at the moment, in one line; None where one can."""
        if not self._failures:
            return "no job process has come up yet" if self._is_doubted else None
        last = self._failures[-1]
        is_enough = self._is_doubted or not last.passes
        if is_enough or len(self._failures) == FAILURES_IN_A_ROW:
            return f"no job process comes up: {last.summary}"
        return None

    def doubt(self) -> None:
        """Request a proof that a process comes up, if none has."""
        self._is_doubted = not self._is_proven

    def succeeded(self) -> None:
        """A process has become ready."""
        self._is_proven, self._is_doubted = True, False
        self._failures.clear()

    def failed(self, error: JobProcessError) -> None:
        """A start has failed."""
        self._failures.append(error)
