"""Help that fits its terminal: plain lines, in which no name is ever cut off.

Knows typer; no command. typer's boxes have columns of a fixed kind and cut off what does not fit:
long flags, on a terminal of any usual width. They are for the list of commands, where it is wide.
"""

from __future__ import annotations

import shutil
from typing import Any, Final, Literal

from typer.core import TyperCommand

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
