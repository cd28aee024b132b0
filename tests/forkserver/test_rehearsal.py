"""What a rehearsal leaves behind in its template: nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import gc, logging, os, signal, sys, threading
from vsdk_trio.forkserver.orders import Brief
from vsdk_trio.runner import job_log
from vsdk_trio.forkserver.program.rehearsal import rehearse

def look():
    handlers = [signal.getsignal(number) for number in signal.valid_signals()]
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        children = file.read()
    return (children, os.listdir("/proc/self/fd"), os.listdir("/proc/self/task"), handlers,
            os.getcwd(), sys.path[:], sys.argv[:],
            logging.getLogger().level, logging.getLogger().handlers[:],
            sys.getprofile(), os.environ.copy(), signal.set_wakeup_fd(-1), sys.get_asyncgen_hooks())

log = job_log.install(2, "WARNING")
signal.signal(signal.SIGTERM, lambda *_: None)
reference = {"sys_path": sys.path[:], "argv": sys.argv[:], "cwd": os.getcwd()}
brief = Brief(entrypoint=reference, log_level="WARNING")
before = look()
rehearse(log, brief)
after = look()
assert before == after, (before, after)
print("the same")
"""


@pytest.mark.real
def test_a_rehearsal_leaves_everything_as_it_was() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("the same\n", "")
