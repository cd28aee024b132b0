"""`vsdk-trio demo`."""

from __future__ import annotations

import logging

import typer


def demo() -> None:
    """Show the main job on this machine: a registry, a worker, and jobs of every kind.

    Needs no account, no token and no network. Exit code 0 when every job ended as it should and
    nothing was left running.
    """
    import trio

    from ._demo_run import run_within_limit
    from ._output import HonestConsole

    # How each job fares is on the screen; what it prints would run across that.
    logging.getLogger("vsdk_trio").addHandler(logging.NullHandler())
    raise typer.Exit(trio.run(run_within_limit, HonestConsole(soft_wrap=True)))
