"""The program `vsdk-trio`: its commands, its help, and the exit codes of its errors.

It loads a command's module only to run it, so `--help` and `version` stay quick. The first lines of
the commands' help stand here too; a test compares them with the commands.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from typing import Annotated, Any, Final, Literal

import typer
from typer.core import TyperCommand, TyperGroup

from .. import __version__
from .._masking import hide_environment, mask
from ..errors import VsdkTrioError
from ..system.signals import (
    heed_ends_of_children,
    heed_signals_as_process_1,
    interrupts_raise,
)
from ..system.stopping import ExitCode, exit_code_of
from ..telemetry.logs.tracebacks import mask_tracebacks
from ._errors import CommandError

_ROOM_FOR_BOXES: Final = 100
_LEAST_COLUMNS: Final = 30
_MOST_COLUMNS: Final = 100
_NAMES_COLUMNS: Final = 30


def markup_mode() -> Literal["rich"] | None:
    """How typer is to show the commands on this terminal; None: as plain lines."""
    return "rich" if shutil.get_terminal_size().columns >= _ROOM_FOR_BOXES else None


class FittingCommand(TyperCommand):
    """A command whose plain help has headings, as typer's boxes have."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """As typer does, in the width that there is."""
        columns = shutil.get_terminal_size().columns - 1
        formatter.width = min(max(_LEAST_COLUMNS, columns), _MOST_COLUMNS)
        super().format_help(ctx, formatter)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Each heading with its flags."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if (record := parameter.get_help_record(ctx)) is not None:
                panels.setdefault(_heading(parameter), []).append(record)
        for heading, records in panels.items():
            with formatter.section(heading):
                formatter.write_dl(records, col_max=min(_NAMES_COLUMNS, formatter.width // 2))


def _heading(parameter: Any) -> str:
    default = "Arguments" if parameter.param_type_name == "argument" else "Options"
    return getattr(parameter, "rich_help_panel", None) or default


PANELS: Final[dict[str, dict[str, str]]] = {
    "Run agents": {
        "run": "Serve a registry with an agent: a file, or a module, as it is.",
        "dev": "Serve an agent while it is being written: new jobs get the new code.",
        "connect": "Run one job here and now, in this process: join a room, no registry.",
    },
    "A registry and its jobs": {
        "registry": "Serve a registry until SIGINT (Ctrl-C), SIGTERM or SIGHUP.",
        "dispatch": "Send a job to the least loaded worker of an agent.",
        "jobs": "List the jobs that a registry knows, oldest first.",
        "terminate": "Terminate a job.",
        "workers": "List the workers that a registry knows, with their load and their jobs.",
    },
    "Look after workers": {
        "top": "Watch a registry, its workers and jobs, or one worker, until Ctrl-C.",
        "drain": "Make a worker stop taking jobs, let running jobs finish, and exit. Like SIGTERM.",
        "doctor": "Find out why a worker cannot register: check each step, and say what to do.",
    },
    "More": {
        "demo": "Show the main job on this machine: a registry, a worker, and jobs of every kind.",
        "version": "Print the version.",
    },
}


_MODULE_OF: Final = {
    **dict.fromkeys(("run", "dev", "connect", "doctor", "demo"), "agents"),
    **dict.fromkeys(("dispatch", "jobs", "terminate", "workers", "top", "drain"), "clients"),
    "registry": "registry",
    "version": "app",
}
"""Which module of this package has the function of a command."""


class LazyGroup(TyperGroup):
    """A group whose commands are light until one of them is to run."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for panel, commands in PANELS.items():
            for name, says in commands.items():
                self.add_command(TyperCommand(name, help=says, rich_help_panel=panel))

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The commands under their headings, for help without boxes."""
        for panel, commands in PANELS.items():
            with formatter.section(panel):
                formatter.write_dl(list(commands.items()))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the arguments name, loaded, and the arguments that are left."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, None if name is None else load_command(name), rest


def load_command(name: str) -> Any:
    """The command of that name, with its flags."""
    module = importlib.import_module(f".{_MODULE_OF[name]}", __package__)
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command(name, cls=FittingCommand)(getattr(module, name))
    return typer.main.get_command(app)


def version() -> None:
    """Print the version."""
    print(__version__)


def print_version(is_asked: bool) -> None:
    """The callback of `--version`: print it and end."""
    if is_asked:
        version()
        raise typer.Exit


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

    Tokens come from the environment only, because other users of a machine can read command lines.
    VIDEOSDK_AUTH_TOKEN is for workers, VSDK_TRIO_REGISTRY_TOKEN for a registry that was started
    with it, and VSDK_TRIO_DEBUG_TOKEN for a worker's HTTP on another machine. NO_COLOR works, too.

    Exit codes: 0 success, 1 error (see stderr), 2 usage, 3 jobs had to be killed, 4 the other side
    cannot be reached or refuses, 5 the awaited job failed, 6 it was cancelled, 130 Ctrl-C.
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
            # It is None where it was closed before we were started; an agent may close it, too.
            if sys.stdout is not None and not sys.stdout.closed:
                sys.stdout.flush()  # or its failure would be known only after the exit code
    except VsdkTrioError as error:
        print(mask(f"vsdk-trio: {error}"), file=sys.stderr)
        sys.exit(error.code if isinstance(error, CommandError) else exit_code_of(error))
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)  # before `app` could see to it
    except BrokenPipeError:
        from ..telemetry.logs.setup import drop_stdout

        # The reader of our output is gone (`| head`). Nothing is left to say, nor where to.
        drop_stdout()
        sys.exit(1)
    except OSError as error:
        from ..telemetry.logs.setup import drop_stdout

        print(mask(f"vsdk-trio: {error}"), file=sys.stderr)
        drop_stdout()
        sys.exit(1)
