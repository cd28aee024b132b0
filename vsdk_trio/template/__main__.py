"""`python -m vsdk_trio.template FD`: a template. Started by the worker, not by people."""

from __future__ import annotations

if __name__ == "__main__":
    import os
    import sys

    # As in `vsdk_trio.runner`: a file in the worker's directory must not be taken for a module.
    if not sys.flags.safe_path and sys.path[0] != os.path.abspath(f"{__file__}/../../.."):
        del sys.path[0]

    from ..runner.early_signals import ignore_while_the_worker_lives, let_signals_in

    ignore_while_the_worker_lives(int(sys.argv[1]))
    let_signals_in()

    from .program import main

    main(int(sys.argv[1]))
