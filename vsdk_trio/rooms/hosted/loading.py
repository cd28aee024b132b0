"""Imports the SDK of hosted rooms, which takes seconds, before it is needed or when it is."""

from __future__ import annotations

import gc
import importlib
import sys

from ...forkserver.before_fork import before_fork


@before_fork
def preload(process: object = None) -> None:
    """Import the SDK, in whatever thread this is called; takes a second or more, and 90 MiB.

    As `Options(initialize_process_fnc=preload)` it makes idle job processes wait with the SDK in
    memory; hence the argument, which is ignored. It starts no thread, so where job processes are
    forked it runs once for all of them, before, and they share the memory.
    """
    is_new = "videosdk" not in sys.modules
    importlib.import_module(f"{__package__}.call")
    if is_new:
        # The SDK collects garbage whenever somebody leaves, and with all that it has imported that
        # stops every thread for 80 ms. What is frozen is not looked at.
        gc.freeze()
