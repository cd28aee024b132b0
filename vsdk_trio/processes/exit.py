"""How a job process ended, as a value and as a text for a person.

Knows return codes, signals and the rungs of the stop ladder; knows no jobs.
"""

from __future__ import annotations

import signal
from enum import StrEnum
from typing import Final

import attrs

from .edge import EXIT_UNKNOWN
from .stop_ladder import Rung

_MAX_DESCRIPTION: Final = 2000


class ExitKind(StrEnum):
    """How a job process ended, in the words of counters and logs."""

    CLEAN = "clean"
    ERROR = "error"  # an exit code other than 0
    SIGNALLED = "signalled"
    KILLED = "killed"  # by us: it did not stop when asked


@attrs.frozen(kw_only=True)
class Exit:
    """How a job process ended."""

    returncode: int
    """Its exit code, minus the signal that ended it, or `EXIT_UNKNOWN`."""
    stop_reason: str | None
    """Why it was asked to stop; None if it ended by itself."""
    rung: Rung | None
    """The last rung of the stop ladder that it needed; None if it ended by itself."""
    stderr_tail: tuple[str, ...]
    """The last lines that it wrote to stderr."""

    @property
    def signal_name(self) -> str | None:
        """The signal that ended it, such as "SIGSEGV"; None where it exited."""
        return signal_name(self.returncode)

    @property
    def killed(self) -> bool:
        """It did not stop when asked, and had to be killed."""
        return self.rung is Rung.SIGKILL

    @property
    def kind(self) -> ExitKind:
        """The class of its end."""
        if self.killed:
            return ExitKind.KILLED
        if self.returncode < 0:
            return ExitKind.SIGNALLED
        return ExitKind.ERROR if self.returncode else ExitKind.CLEAN

    def describe(self) -> str:
        """Return the cause and the last lines of stderr, as one text of bounded length."""
        return with_last_words(self._cause(), self.stderr_tail)

    def summarize(self) -> str:
        """Return the same as `describe`, but only with the last line of stderr."""
        said = [line.strip() for line in self.stderr_tail if line.strip()]
        return with_last_words(self._cause(), tuple(said[-1:]))

    def _cause(self) -> str:
        if self.killed:
            cause = "the job process did not stop when asked and was killed"
        elif self.returncode == EXIT_UNKNOWN:
            cause = (
                "the job process ended, and it is not known how: its template had died before, or "
                "other code of this program has taken the statuses of its children"
            )
        elif self.signal_name is None:
            cause = f"the job process exited with code {self.returncode}"
        elif self.signal_name == "SIGKILL":
            cause = "the job process was killed by SIGKILL (out of memory?)"
        else:
            cause = f"the job process was killed by {self.signal_name}"
        return cause


def signal_name(returncode: int) -> str | None:
    """Return the signal of a return code, such as "SIGSEGV"; None if it is an exit code."""
    if returncode >= 0:
        return None
    try:
        return signal.Signals(-returncode).name
    except ValueError:
        return f"signal {-returncode}"


def with_last_words(cause: str, tail: tuple[str, ...]) -> str:
    """Return `cause` and as many of the last lines of stderr as fit in a bounded text."""
    text = "\n".join(tail).strip()
    if text:
        # The end is more useful than the beginning: a traceback names its error there.
        room = max(0, _MAX_DESCRIPTION - len(cause) - len("; stderr: ..."))
        cause += "; stderr: " + (text if len(text) <= room else "..." + text[len(text) - room :])
    return cause[:_MAX_DESCRIPTION]
