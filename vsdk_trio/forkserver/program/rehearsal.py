"""The life of a job process, gone through before there is one, with a job that does nothing.

What Python notes about code as it runs (specialized bytecode, caches of attributes, versions of
types and dictionaries) lies in the middle of what was loaded. Noted here, it is shared by all
forks; noted in a fork, it makes pages that fork's own, and costs it time.

Knows frames, as a worker sends them, and the runner. Runs no code of the user's.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import trio

from ...control.frames import Hello, Ping, Start, encode_frame
from ...control.job import JobInfo
from ...control.orders import Brief, Fork
from ...runner import process, rehearsal
from ...runner.job_context import JobContext
from ...runner.job_log import RunnerLog
from ...runner.loader import Preloaded
from ...runner.stdio import claim
from .child import COOKIE_VARIABLE, Marks, settle_in
from .packing import pack
from .server import fork

# Python 3.11 specializes code that has run eight times.
_TIMES = 8
_STDERR = 2


async def nothing(ctx: JobContext) -> None:
    """The job of a rehearsal."""


def rehearse(log: RunnerLog, marks: Marks, brief: Brief) -> None:
    """Run jobs, from their first frame to their last, and pack what they run.

    `brief`: for the surroundings of the user's code, its search path, directory and arguments.
    Leaves no descriptor, process, thread, signal handler or event loop behind.
    """
    hello = Hello(
        entrypoint={
            **{name: brief.entrypoint[name] for name in ("sys_path", "argv", "cwd")},
            "module": __name__,
            "qualname": nothing.__qualname__,
        },
        log_level=brief.log_level,
    )
    with _worker(hello) as fd:
        codes = _codes_of_a_fork(fd, log, marks)
    pack(codes)
    for _ in range(_TIMES):
        with _worker(hello) as fd:
            _run(log, os.dup(fd), os.dup(fd))


@contextmanager
def _worker(hello: Hello) -> Iterator[int]:
    """A descriptor at whose other end is what a job process takes for its worker."""
    job = JobInfo(job_id="rehearsal")
    # Packets, so that each read returns one frame, as it does from a worker.
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, its:
        for frame in (hello, Ping(seq=1), Start(job=job.to_dict())):
            ours.send(encode_frame(frame))
        yield its.fileno()


def _run(log: RunnerLog, receive_fd: int, send_fd: int) -> None:
    inherited = process.Inherited(log=log, preloaded=Preloaded())
    process.main(receive_fd, send_fd, time.perf_counter(), inherited)
    trio.run(rehearsal.rehearse, 1)  # as the process does that waits for a job


def _codes_of_a_fork(fd: int, log: RunnerLog, marks: Marks) -> set[int]:
    """Fork a job process for one job; returns the ids of the code objects that ran there."""
    codes: set[int] = set()

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call":
            codes.add(id(frame.f_code))

    others = sys.getprofile()
    reader, writer = os.pipe2(os.O_CLOEXEC)
    sys.setprofile(note)
    if (pid := fork()) == 0:
        try:
            order = Fork(id=0, cookie=os.environ[COOKIE_VARIABLE].rstrip("."), argv=[])
            settle_in(order, [os.dup(fd), os.dup(fd), os.dup(_STDERR)], marks, {})
            _run(log, *claim())
            sys.setprofile(None)
            os.write(writer, array("Q", codes).tobytes())
        finally:
            os._exit(0)
    sys.setprofile(others)
    os.close(writer)
    with open(reader, "rb") as report:
        found = report.read()
    with suppress(ChildProcessError):  # the user's code has it buried by somebody else
        os.waitpid(pid, 0)
    return set(array("Q", found))
