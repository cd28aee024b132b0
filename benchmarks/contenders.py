"""Whose workers are measured: ours by each start method, and the peers'.

Knows how each is started as the program that it is; not what is measured.
"""

from __future__ import annotations

import sys
from pathlib import Path

import attrs

PROGRAMS = Path(__file__).parent / "programs"
UPSTREAM = "videosdk-agents"
LIVEKIT = "livekit-agents"


@attrs.frozen(kw_only=True)
class Contender:
    """A program that registers as a worker: `PYTHON SCRIPT BACKEND_URL IDLE MAX_PROCESSES`."""

    name: str
    script: Path
    python: str = sys.executable
    start_method: str = ""
    is_ours: bool = True
    """What the peers print is theirs to read, and they may leave processes behind."""
    has_process_per_job: bool = True
    """Whether each job has a process of its own, which then says when it has come up."""


def ours(start_method: str) -> Contender:
    """Our worker, whose job processes are started so."""
    return Contender(name=start_method, script=PROGRAMS / "agent.py", start_method=start_method)


def upstream(python: str) -> Contender:
    """The published client, in the environment that `python` belongs to.

    It ignores its option for a function that runs in each process, and uses processes again.
    """
    return Contender(
        name=UPSTREAM,
        script=PROGRAMS / "videosdk_agent.py",
        python=python,
        is_ours=False,
        has_process_per_job=False,
    )


def livekit(python: str) -> Contender:
    """LiveKit's worker, in the environment that `python` belongs to."""
    script = PROGRAMS / "livekit_agent.py"
    return Contender(name=LIVEKIT, script=script, python=python, is_ours=False)
