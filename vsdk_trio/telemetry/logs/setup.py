"""Sets up the log of a program: its own way out, and no handler on any logger.

Also logs what the environment sets that has no effect, once, when the program starts.
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
from ...errors import OptionsError
from ...options.environment import OLDER_NAMES, AddressSource, address_options, service_links
from ...options.worker import LogFormat, Options
from .lines import LogLine, as_console, as_json
from .loggers import NAME, get_logger, leave_by, way_out
from .outlet import Outlet, Render, Sink, file_sink
from .tracebacks import mask_tracebacks


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
    _flush_stdout()
    try:
        yield
    finally:
        if (outlet := current_outlet()) is not None:
            outlet.flush()


def _flush_stdout() -> None:
    """Write what the script has printed: it comes before what its jobs print.

    A worker does not live by that text. Where it cannot be written, it is dropped.
    """
    try:
        if sys.stdout is not None:  # it is where it was closed before we were started
            sys.stdout.flush()
    except (ValueError, AttributeError):
        pass  # the script has closed it, or put something else in its place
    except OSError as error:
        get_logger(NAME).warning(
            "stdout cannot be written, what the program prints is lost: %s", error
        )
        drop_stdout()


def drop_stdout() -> None:
    """Let what could not be written go: Python would try once more at its end, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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


logger = get_logger("vsdk_trio.environment")


def tell_of_environment(options: Options, environ: Mapping[str, str]) -> None:
    """Log variables that have no effect: once, at the start of a program.

    That is: the links that Kubernetes sets for a Service, and, for a worker, a registry that the
    environment names and `options` do not.
    """
    tell_of_service_links(environ)
    if options.register:
        _tell_of_another_registry(options, environ)


def tell_of_service_links(environ: Mapping[str, str]) -> None:
    """Log the links that Kubernetes sets for a Service."""
    if links := service_links(environ):
        logger.warning(
            "%s: set by Kubernetes for a Service of that name, no option, ignored; "
            "enableServiceLinks: false in the pod's spec leaves them out",
            ", ".join(links),
        )


def _tell_of_another_registry(options: Options, environ: Mapping[str, str]) -> None:
    source = AddressSource.of_environment(environ)
    try:
        named = address_options(source)
    except OptionsError as error:
        logger.warning("not used: %s", error)
        return
    used = {name: getattr(options, name) for name in named}
    if used != named:
        there = next(value for name in OLDER_NAMES if (value := getattr(options, name)))
        said = source.address or next(value for name in OLDER_NAMES if (value := named.get(name)))
        logger.warning(
            "the registry is %s, as the options say, and not %s, as the environment does: "
            "write Options.from_env(...), which reads it, or start the agent by `vsdk-trio run`",
            there,
            said,
        )
