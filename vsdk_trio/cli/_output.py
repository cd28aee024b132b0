"""What commands print: JSON for programs, a table for people.

Text that came over the network is made harmless for a terminal here.
"""

from __future__ import annotations

import json
import sys
from types import TracebackType

from rich.console import Console
from rich.status import Status

from .._masking import mask, mask_answer

# Wide enough that no line of a table is broken: a program reads it.
_WIDTH_WHEN_PIPED = 1 << 20


class HonestConsole(Console):
    """A console that raises `BrokenPipeError` after its reader has gone.

    rich would end the program, from the midst of whatever was running.
    """

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError("the reader of the output is gone")


def print_json(value: object) -> None:
    """Print a value as JSON, masked."""
    print(json_of(value, indent=2))


def json_of(value: object, *, indent: int | None = None) -> str:
    """A value as JSON, masked."""
    return json.dumps(mask_answer(value), indent=indent)


def console() -> Console:
    """Where a command prints: colours only on a terminal, and never where NO_COLOR is set."""
    found = HonestConsole()
    return found if found.is_terminal else HonestConsole(width=_WIDTH_WHEN_PIPED)


def harmless(text: str) -> str:
    """The text, masked, without anything that could make a terminal do more than show it."""
    text = mask(text)
    return "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in text)


def seconds(value: float | None) -> str:
    """A duration for a table."""
    return "" if value is None else f"{value:.3f} s" if value < 10 else f"{value:.0f} s"


class Progress:
    """Shows progress on stderr: in place on a terminal, else a line for each change."""

    def __init__(self) -> None:
        self._said = ""
        self._status: Status | None = None

    def __enter__(self) -> Progress:
        if sys.stderr is not None and sys.stderr.isatty():
            self._status = Console(stderr=True).status("")
            self._status.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def say(self, what: str, how_long: str = "") -> None:
        """Show what the command waits for; `how_long` appears only on a terminal."""
        if self._status is not None:
            from rich.text import Text

            self._status.update(Text(harmless(f"{what} {how_long}".rstrip())))
        elif what != self._said and sys.stderr is not None:
            self._said = what
            print(harmless(what), file=sys.stderr, flush=True)
