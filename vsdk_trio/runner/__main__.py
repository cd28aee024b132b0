"""`python -m vsdk_trio.runner`: a job process. Started by the worker, not by people."""

from __future__ import annotations

if __name__ == "__main__":
    import os
    import sys
    import time

    _started_at = time.perf_counter()

    # `-m` has put the directory first that the worker was started in. A file there that is named
    # like a module must not be taken for it: what the user's code needs comes with its reference.
    if not sys.flags.safe_path and sys.path[0] != os.path.abspath(f"{__file__}/../../.."):
        del sys.path[0]

    from .stdio import claim

    _receive_fd, _send_fd = claim()  # before anything else is imported, and could print

    from .early_signals import ignore_while_the_worker_lives, let_signals_in

    ignore_while_the_worker_lives(_receive_fd)
    let_signals_in()

    from .process import main

    _code = main(_receive_fd, _send_fd, _started_at)
    # Or the collection at the interpreter's exit takes 50 ms of a slot's time.
    import gc

    gc.freeze()
    sys.exit(_code)
