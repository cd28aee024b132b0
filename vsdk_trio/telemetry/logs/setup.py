"""What a program of ours does about its log: our own way out, and no handler on any logger.

Knows streams, terminals and the environment's word on colours. Must not know jobs.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from ..._masking import hide, hide_environment, mask
from ...options.worker import LogFormat
from .formats import as_console, as_json
from .lines import LogLine
from .loggers import NAME, get_logger, leave_by, way_out
from .outlet import Outlet, Render
from .tracebacks import mask_tracebacks
from .writer import Sink, file_sink


def configure_logging(
    level: str, log_format: LogFormat = "auto", *, secrets: Iterable[str] = ()
) -> None:
    """Have our loggers write to stderr from `level` on; again, it only changes level and format.

    Arguments: `log_format`, "console" for a person, "json" for a program, "auto" for whichever
    stderr is; `secrets`, to be masked besides what looks like one, and what the environment has
    by the name of a secret.

    A program that has put handlers on our logger keeps them, and gets nothing else. Handlers on
    the root get our records, masked, unless they print to the same stderr or stdout.
    """
    hide(*secrets)
    hide_environment(os.environ)
    mask_tracebacks()
    number = logging.getLevelNamesMapping()[level]
    outlet = current_outlet()
    if outlet is None:
        logger = get_logger(NAME)
        if logger.handlers:
            logger.setLevel(level)
            return
        if (sink := _stderr()) is None:  # closed before the program was started
            return
        outlet = Outlet(sink, as_json, number)
        leave_by(outlet)
        atexit.register(outlet.flush)
    outlet.level = number
    outlet.render = _choose(log_format, sys.stderr, os.environ)


@contextmanager
def program_log(
    level: str, log_format: LogFormat = "auto", *, secrets: Iterable[str] = ()
) -> Iterator[None]:
    """Around the body of a program: `configure_logging`, and at the end all of it is written."""
    configure_logging(level, log_format, secrets=secrets)
    if sys.stdout is not None:  # it is where it was closed before we were started
        sys.stdout.flush()  # what the script printed comes before what its jobs print
    try:
        yield
    finally:
        if (outlet := current_outlet()) is not None:
            outlet.flush()


def current_outlet() -> Outlet | None:
    """What `configure_logging` has installed, if it has."""
    found = way_out()
    return found if isinstance(found, Outlet) else None


def say_last(text: str) -> None:
    """Write a program's last words to stderr, after all that was logged.

    A reader that does not read holds the end up for a bounded time only.
    """
    if (outlet := current_outlet()) is not None:
        outlet.add(text)
        outlet.flush()
    elif sys.stderr is not None:
        print(mask(text), file=sys.stderr, flush=True)


def _stderr() -> Sink | None:
    stream = sys.stderr
    if stream is None:
        return None
    try:
        return file_sink(stream.fileno())
    except (OSError, AttributeError, ValueError):  # a stream in memory
        return partial(_write, stream)


def _write(stream: Any, text: str) -> None:
    stream.write(text)
    stream.flush()


def _choose(log_format: LogFormat, stream: Any, environ: Mapping[str, str]) -> Render:
    is_terminal = _is_terminal(stream)
    if log_format == "json" or (log_format == "auto" and not is_terminal):
        return as_json
    if not is_terminal:
        return as_console
    colours = not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
    return partial(_on_terminal, stream.fileno(), colours)


def _is_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):
        return False


def _on_terminal(fd: int, colours: bool, line: LogLine) -> str:
    try:
        columns = os.get_terminal_size(fd).columns  # asked anew: windows change
    except OSError:
        columns = 0
    return as_console(line, colours=colours, columns=columns)
