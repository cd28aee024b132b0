"""The program `vsdk-trio`: its commands, and the one place where an error becomes an exit code.

Imports the commands but nothing that they need to run: `--help` must be quick.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from .._masking import hide_environment, mask
from ..errors import VsdkTrioError
from ..system.signals import (
    heed_ends_of_children,
    heed_signals_as_process_1,
    interrupts_raise,
)
from ..system.stopping import ExitCode, exit_code_of
from ..telemetry.logs.tracebacks import mask_tracebacks
from ._commands import LazyGroup
from ._errors import CommandError
from ._help import markup_mode
from .version import print_version

app = typer.Typer(
    name="vsdk-trio",
    cls=LazyGroup,
    no_args_is_help=True,
    rich_markup_mode=markup_mode(),
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _options(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", callback=print_version, is_eager=True, help="Print the version and end."
        ),
    ] = False,
) -> None:
    """VideoSDK agent workers on Trio: run them, dispatch to them, look after them.

    Tokens come from the environment and nowhere else, for everybody on a machine can read a command
    line: VIDEOSDK_AUTH_TOKEN is the workers' own; VSDK_TRIO_REGISTRY_TOKEN opens a registry that
    was started with it, VSDK_TRIO_DEBUG_TOKEN a worker's HTTP on another machine. NO_COLOR is
    heeded.

    Exit codes: 0 done, 1 an error (stderr says which, and what to do), 2 usage, 3 jobs had to be
    killed, 4 the other side cannot be reached or refuses, 5 the job that was waited for failed,
    6 it was cancelled, 130 interrupted by Ctrl-C.
    """


def main() -> None:
    """Run the program; always raises `SystemExit`, with an `ExitCode`."""
    heed_signals_as_process_1()
    heed_ends_of_children()
    hide_environment(os.environ)
    mask_tracebacks()
    try:
        try:
            interrupts_raise()
            app()
        finally:
            if sys.stdout is not None:  # it is where it was closed before we were started
                sys.stdout.flush()  # or its failure would be known only after the exit code
    except VsdkTrioError as error:
        print(mask(f"vsdk-trio: {error}"), file=sys.stderr)
        sys.exit(error.code if isinstance(error, CommandError) else exit_code_of(error))
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)  # before `app` could see to it
    except BrokenPipeError:
        # The reader of our output is gone (`| head`). Nothing is left to say, nor where to.
        _drop_output()
        sys.exit(1)
    except OSError as error:
        print(mask(f"vsdk-trio: {error}"), file=sys.stderr)
        _drop_output()
        sys.exit(1)


def _drop_output() -> None:
    """Let what could not be written go: Python would try once more at its end, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
