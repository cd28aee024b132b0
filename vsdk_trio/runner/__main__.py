"""`python -m vsdk_trio.runner`: a job process. Started by the worker, not by people."""

from __future__ import annotations

if __name__ == "__main__":
    import sys
    import time

    _started_at = time.perf_counter()

    from .stdio import claim

    _receive_fd, _send_fd = claim()  # before anything else is imported, and could print

    from .process import main

    sys.exit(main(_receive_fd, _send_fd, _started_at))
