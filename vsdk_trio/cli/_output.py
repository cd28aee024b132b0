"""What commands print: JSON for programs, a table for people.

Text that came over the network is made harmless for a terminal here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

_WIDTH_WHEN_PIPED = 200


def print_json(value: object) -> None:
    """Print a value as JSON."""
    print(json.dumps(value, indent=2))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table; colours only on a terminal and never where NO_COLOR is set."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH_WHEN_PIPED)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(harmless(cell)) for cell in row))
    console.print(table)


def harmless(text: str) -> str:
    """The text with everything replaced that could make a terminal do more than show it."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in text)


def seconds(value: float | None) -> str:
    """A duration for a table."""
    return "" if value is None else f"{value:.3f} s" if value < 10 else f"{value:.0f} s"
