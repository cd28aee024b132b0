"""A template for tests: forks what the command line of each order names, a script or `-c` program.

As the real one, but it loads nothing, and what it forks is no runner.
"""

from __future__ import annotations

import os
import runpy
import socket
import sys

from vsdk_trio.forkserver.orders import Fork, TemplateReady
from vsdk_trio.forkserver.program.child import live
from vsdk_trio.forkserver.program.environment_marker import find_marker
from vsdk_trio.forkserver.program.server import ControlSocket, ForkServer


def run(argv: list[str]) -> int:
    """What an interpreter would do with this command line."""
    _, *rest = argv
    while rest[0].startswith("-") and rest[0] != "-c":
        rest.pop(0)
    try:
        if rest[0] == "-c":
            sys.argv = ["-c", *rest[2:]]
            exec(rest[1], {"__name__": "__main__"})
        else:
            sys.argv = rest
            runpy.run_path(rest[0], run_name="__main__")
    except SystemExit as error:
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
            return 1
        return error.code or 0
    return 0


def main(fd: int) -> Fork:
    os.set_inheritable(fd, False)
    control = ControlSocket(socket.socket(fileno=fd))
    assert control.receive() is not None
    order = ForkServer(control, find_marker(), lambda: None).serve(TemplateReady(seconds=0.0))
    if order is None:
        os._exit(0)
    return order


_order = main(int(sys.argv[1]))
live(lambda: run(_order.argv))
