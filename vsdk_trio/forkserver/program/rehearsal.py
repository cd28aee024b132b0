"""Runs jobs that do nothing in the template, before it is frozen and forked.

Python writes to memory as it runs code: specialized bytecode, attribute caches, versions of types
and dictionaries. Written here, these pages are shared by all forks. Written in a fork, they become
pages of its own, and cost it time.

Knows the frames that a worker sends, and the runner. Runs no code of the user.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import trio

from ...control.frames import Hello, JobInfo, Ping, Start, encode_frame
from ...runner import process, rehearsal
from ...runner.job_context import JobContext
from ...runner.job_log import RunnerLog
from ...runner.loader import Preloaded
from ..orders import Brief

# Python 3.11 specializes code that has run eight times.
_TIMES = 8


async def nothing(ctx: JobContext) -> None:
    """The job of a rehearsal."""


def rehearse(log: RunnerLog, brief: Brief) -> None:
    """Run jobs from their first frame to their last.

    Leaves no descriptor, process, thread, signal handler or event loop behind.

    Args:
        log: Where the runner of these jobs logs.
        brief: Search path, directory and arguments of the user's code.
    """
    hello = Hello(
        entrypoint={
            **{name: brief.entrypoint[name] for name in ("sys_path", "argv", "cwd")},
            "module": __name__,
            "qualname": nothing.__qualname__,
        },
        log_level=brief.log_level,
    )
    for _ in range(_TIMES):
        with _worker(hello) as fd:
            _run(log, os.dup(fd), os.dup(fd))


@contextmanager
def _worker(hello: Hello) -> Iterator[int]:
    """A descriptor of a job process, with the frames of a worker waiting to be read."""
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
