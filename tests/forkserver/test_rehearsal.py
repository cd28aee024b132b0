"""What a rehearsal leaves behind in its template: nothing."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import gc, logging, os, signal, sys, threading
from vsdk_trio.control.orders import Brief
from vsdk_trio.runner import process, renditions
from vsdk_trio.forkserver.program.child import Marks
from vsdk_trio.forkserver.program.marker import find_command_line, find_variable
from vsdk_trio.forkserver.program.rehearsal import rehearse

def look():
    handlers = [signal.getsignal(number) for number in signal.valid_signals()]
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        children = file.read()
    return (children, os.listdir("/proc/self/fd"), os.listdir("/proc/self/task"), handlers,
            os.getcwd(), sys.path[:], sys.argv[:],
            logging.getLogger().level, logging.getLogger().handlers[:],
            sys.getprofile(), os.environ.copy(), signal.set_wakeup_fd(-1), sys.get_asyncgen_hooks())

log = renditions.install(2, "WARNING")
marks = Marks(cookie=find_variable("VSDK_TRIO_COOKIE"), command_line=find_command_line())
signal.signal(signal.SIGTERM, lambda *_: None)
reference = {"sys_path": sys.path[:], "argv": sys.argv[:], "cwd": os.getcwd()}
brief = Brief(entrypoint=reference, log_level="WARNING")
code = process.read_hello.__code__
before = look()
rehearse(log, marks, brief)
after = look()
assert process.read_hello.__code__ is not code, "it ran, and was packed"
assert before == after, (before, after)
print("the same")
"""


@pytest.mark.real
def test_a_rehearsal_leaves_everything_as_it_was() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "VSDK_TRIO_COOKIE": "test".ljust(96, ".")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("the same\n", "")
