"""The commands there are, and how each is loaded: not before it is asked for.

So `--help` and `version` stay quick, however much a command needs to make its flags. What stands
here of a command is what the program's own help shows; a test compares it with the command.
"""

from __future__ import annotations

import importlib
from typing import Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from ._help import FittingCommand

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
        "terminate": "Ask for the end of a job.",
        "workers": "List the workers that a registry knows, with their load and their jobs.",
    },
    "Look after workers": {
        "top": "Watch a registry, its workers and jobs, or one worker, until Ctrl-C.",
        "drain": "Have a worker take nothing new, let what runs finish, and end. Like SIGTERM.",
        "doctor": "Find out why a worker cannot register: each step on its way, and what to do.",
    },
    "More": {
        "demo": "Show the main job on this machine: a registry, a worker, and jobs of every kind.",
        "version": "Print the version.",
    },
}


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
    module = importlib.import_module(f".{name}", __package__)
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command(name, cls=FittingCommand)(getattr(module, name))
    return typer.main.get_command(app)
