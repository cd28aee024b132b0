"""The life of a job process, gone through in the template, with a job that does nothing.

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
from collections.abc import Callable
from types import CodeType, FrameType

from ..control.frames import Hello, Ping, Start, encode_frame
from ..control.job import JobInfo
from ..jobs.entrypoint import EntrypointRef
from ..runner import process
from ..runner.job_context import JobContext
from ..runner.job_log import JobLogHandler
from ..runner.loader import Preloaded
from .packing import pack

# Python 3.11 specializes code that has run eight times.
_TIMES = 8


async def nothing(ctx: JobContext) -> None:
    """The job of a rehearsal."""


def rehearse(log: JobLogHandler, surroundings: EntrypointRef, log_level: str) -> None:
    """Run jobs in this process, from their first frame to their last, and pack what they run.

    `surroundings`: where the user's code was loaded, for its search path, directory and arguments.
    Leaves no descriptor, thread, signal handler or event loop behind.
    """
    entrypoint = EntrypointRef(
        module=__name__,
        qualname=nothing.__qualname__,
        sys_path=surroundings.sys_path,
        argv=surroundings.argv,
        cwd=surroundings.cwd,
    )
    frames = [
        encode_frame(Hello(entrypoint=entrypoint.to_dict(), log_level=log_level)),
        encode_frame(Ping(seq=1)),
        encode_frame(Start(job=JobInfo(job_id="rehearsal").to_dict())),
    ]
    pack(_codes_run_by(lambda: _run(log, frames)))
    for _ in range(_TIMES):
        _run(log, frames)


def _codes_run_by(action: Callable[[], None]) -> list[CodeType]:
    codes: dict[int, CodeType] = {}  # by id, as two that read the same are equal

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call":
            codes[id(frame.f_code)] = frame.f_code

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        action()
    finally:
        sys.setprofile(before)
    return list(codes.values())


def _run(log: JobLogHandler, frames: list[bytes]) -> None:
    # Packets, so that each read returns one frame, as it does from a worker.
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        for frame in frames:
            ours.send(frame)
        receive = its.detach()
        inherited = process.Inherited(log=log, preloaded=Preloaded())
        process.main(receive, os.dup(receive), time.perf_counter(), inherited)
