"""`python -m vsdk_trio.template FD`: a template. Started by the worker, not by people."""

from __future__ import annotations


def run() -> None:
    """Be a template on the socket whose number is the last argument."""
    import sys

    from ..runner.early_signals import ignore_while_the_worker_lives, let_signals_in

    fd = int(sys.argv[-1])
    ignore_while_the_worker_lives(fd)
    let_signals_in()

    from .program import main

    main(fd)


if __name__ == "__main__":
    import os
    import sys

    # As in `vsdk_trio.runner`: a file in the worker's directory must not be taken for a module.
    if not sys.flags.safe_path and sys.path[0] != os.path.abspath(f"{__file__}/../../.."):
        del sys.path[0]
    run()
