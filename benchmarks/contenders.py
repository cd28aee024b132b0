"""Whose workers are measured: ours by each start method, and the published client's.

Knows how each is started as the program that it is; not what is measured.
"""

from __future__ import annotations

import sys
from pathlib import Path

import attrs

PROGRAMS = Path(__file__).parent / "programs"
UPSTREAM = "videosdk-agents"


@attrs.frozen(kw_only=True)
class Contender:
    """A program that registers as a worker: `PYTHON SCRIPT BACKEND_URL IDLE MAX_PROCESSES`."""

    name: str
    script: Path
    python: str = sys.executable
    start_method: str = ""
    is_ours: bool = True
    """The peers do not tell when a process is ready, keep no promise of one job for each, and
    have limits of their own."""


def ours(start_method: str) -> Contender:
    """Our worker, whose job processes are started so."""
    return Contender(name=start_method, script=PROGRAMS / "agent.py", start_method=start_method)


def upstream(python: str) -> Contender:
    """The published client, in the environment that `python` belongs to."""
    script = PROGRAMS / "videosdk_agent.py"
    return Contender(name=UPSTREAM, script=script, python=python, is_ours=False)
