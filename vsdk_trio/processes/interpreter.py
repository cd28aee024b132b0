"""How another Python program of ours is started: the interpreter, its flags, where its code is.

The new interpreter is to be like this one: the same flags, and able to import this package also
where the program has put it on its path by itself. What the user's code needs beyond that comes
with its reference.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Final

import attr
import trio

import vsdk_trio

from ..errors import PreflightError

# Run by `-P -c`: without -P the current directory is first in the path. A file there that is named
# like a module must not be taken for it, and Python 3.13.0 cannot import where it is gone.
_BOOT: Final = (
    "import sys; "
    "sys.path += [p for p in sys.argv[2:] if p not in sys.path and not p.isdigit()]; "
    "from importlib import import_module as i; i(sys.argv[1] + '.__main__').run()"
)


def program(module: str) -> tuple[str, ...]:
    """The command line that runs the package `module` of ours.

    Raises what `require_interpreter` raises.
    """
    require_interpreter()
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing
    return (sys.executable, *flags, "-P", "-c", _BOOT, module, *_homes())


def require_interpreter() -> None:
    """Raise `PreflightError` where there is no interpreter to run job processes."""
    if getattr(sys, "frozen", False):
        raise PreflightError(
            "this program is frozen (sys.frozen), so there is no Python to run job processes: "
            "ship the agent as a file and run it by an interpreter: python agent.py"
        )
    if not sys.executable:
        raise PreflightError(
            "it is not known which Python runs this program (sys.executable is empty), so no job "
            "process can be started: run it by an interpreter: python agent.py"
        )
    if not os.access(sys.executable, os.X_OK):
        raise PreflightError(
            f"cannot start a job process: the interpreter {sys.executable} (sys.executable) is "
            "not there, or may not be executed by this user: mend it, or run by another one"
        )


def _homes() -> list[str]:
    """The directories (or archives) that this package and what it needs are imported from."""
    files = [module.__file__ for module in (vsdk_trio, trio, attr)]
    homes = (os.path.dirname(os.path.dirname(os.path.abspath(file))) for file in files if file)
    return [*dict.fromkeys(homes)]
