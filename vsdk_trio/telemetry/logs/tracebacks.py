"""The traceback that a program ends with is masked, too, and left out where an error says all.

Python prints it itself, past every log. A leaf.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
from pathlib import Path
from types import TracebackType
from typing import Final

from ..._masking import mask
from ...errors import OptionsError
from ...system.stopping import exit_code_of

_OWN: Final = str(Path(__file__).parents[2]) + os.sep


def mask_tracebacks() -> None:
    """Mask uncaught exceptions from now on; a hook that the user has set stays."""
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = print_masked
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _print_of_thread


def print_masked(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Print an exception with its traceback to stderr; one that says all, in one line.

    Raises `SystemExit` after that line, which is how a hook changes the exit code.
    """
    if isinstance(error, OptionsError) and error.ends_program:
        if sys.stderr is not None:
            sys.stderr.write(mask(f"vsdk_trio: {error}{_where(trace)}\n"))
            sys.stderr.flush()
        raise SystemExit(exit_code_of(error))
    if sys.stderr is not None:
        sys.stderr.write(mask("".join(traceback.format_exception(kind, error, trace))))
        sys.stderr.flush()


def _where(trace: TracebackType | None) -> str:
    """The last line of the user's own code, for people who look for it."""
    found = [f for f in traceback.extract_tb(trace) if not f.filename.startswith((_OWN, "<"))]
    return f" ({os.path.basename(found[-1].filename)}, line {found[-1].lineno})" if found else ""


def _print_of_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is None or isinstance(args.exc_value, SystemExit):
        return
    if sys.stderr is not None:
        name = args.thread.name if args.thread is not None else "?"
        sys.stderr.write(mask(f"Exception in thread {name}:\n"))
    print_masked(args.exc_type, args.exc_value, args.exc_traceback)
