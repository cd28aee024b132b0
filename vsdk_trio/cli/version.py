"""`vsdk-trio version`."""

from __future__ import annotations

import typer

from .. import __version__


def version() -> None:
    """Print the version."""
    print(__version__)


def print_version(is_asked: bool) -> None:
    """The callback of `--version`: print it and end."""
    if is_asked:
        version()
        raise typer.Exit
