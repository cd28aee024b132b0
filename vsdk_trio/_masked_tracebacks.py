"""The traceback that a program ends with is masked, too.

Python prints it itself, past every log. A leaf.
"""

from __future__ import annotations

import sys
import threading
import traceback
from types import TracebackType

from ._masking import mask


def mask_tracebacks() -> None:
    """From now on, print masked what nobody catches; a hook of the user's own is left alone."""
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = print_masked
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _print_of_thread


def print_masked(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Print an exception with its traceback to stderr."""
    if sys.stderr is not None:
        sys.stderr.write(mask("".join(traceback.format_exception(kind, error, trace))))
        sys.stderr.flush()


def _print_of_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is None or isinstance(args.exc_value, SystemExit):
        return
    if sys.stderr is not None:
        name = args.thread.name if args.thread is not None else "?"
        sys.stderr.write(mask(f"Exception in thread {name}:\n"))
    print_masked(args.exc_type, args.exc_value, args.exc_traceback)
