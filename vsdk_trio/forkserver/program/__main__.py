"""The program of a template. The worker starts it, by `processes/program.py`."""

from __future__ import annotations


def run() -> None:
    """Be a template on the socket whose number is the last argument."""
    import sys

    from ...runner.early_signals import ignore_while_the_worker_lives, let_signals_in

    fd = int(sys.argv[-1])
    ignore_while_the_worker_lives(fd)
    let_signals_in()

    from .main import main

    main(fd)
