"""`python -m vsdk_trio.runner`: a job process. Started by the worker, not by people."""

from __future__ import annotations


def run() -> None:
    """Be a job process on stdin and stdout, and end with its exit code."""
    import sys
    import time

    started_at = time.perf_counter()

    from .stdio import claim

    receive_fd, send_fd = claim()  # before anything else is imported, and could print

    from .early_signals import ignore_while_the_worker_lives, let_signals_in

    ignore_while_the_worker_lives(receive_fd)
    let_signals_in()

    from .process import main

    code = main(receive_fd, send_fd, started_at)
    # Or the collection at the interpreter's exit takes 50 ms of a slot's time.
    import gc

    gc.freeze()
    sys.exit(code)


if __name__ == "__main__":
    import os
    import sys

    # `-m` has put the directory first that it was started in. A file there that is named like a
    # module must not be taken for it: what the user's code needs comes with its reference.
    if not sys.flags.safe_path and sys.path[0] != os.path.abspath(f"{__file__}/../../.."):
        del sys.path[0]
    run()
