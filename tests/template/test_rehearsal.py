"""What a rehearsal leaves behind in its template: nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import gc, logging, os, signal, sys, threading
from vsdk_trio.jobs.entrypoint import EntrypointRef
from vsdk_trio.runner import job_log
from vsdk_trio.template.rehearsal import rehearse

def look():
    handlers = [signal.getsignal(number) for number in signal.valid_signals()]
    return (os.listdir("/proc/self/fd"), os.listdir("/proc/self/task"), handlers, os.getcwd(),
            sys.path[:], sys.argv[:], logging.getLogger().level, logging.getLogger().handlers[:],
            sys.getprofile(), signal.set_wakeup_fd(-1), sys.get_asyncgen_hooks())

log = job_log.install(2, "WARNING")
signal.signal(signal.SIGTERM, lambda *_: None)
surroundings = EntrypointRef(module="agent", qualname="entrypoint", sys_path=tuple(sys.path),
                             argv=tuple(sys.argv), cwd=os.getcwd())
before = look()
rehearse(log, surroundings, "WARNING")
after = look()
assert before == after, (before, after)
print("the same")
"""


@pytest.mark.real
def test_a_rehearsal_leaves_everything_as_it_was() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == ("the same\n", "")
