"""How much is measured, and where."""

from __future__ import annotations

from pathlib import Path

import attrs

from .contenders import Contender


@attrs.frozen(kw_only=True)
class Plan:
    """The size of one run of the benchmark."""

    contenders: tuple[Contender, ...]
    jobs: int
    """Jobs for each figure that is about jobs with an idle process."""
    cold_jobs: int
    """Jobs for each figure that is about jobs without one."""
    starts: int
    """Starts of a worker."""
    sustained_jobs: int
    """Jobs in each round of the sustained rate."""
    at_once: int
    """Jobs at the same time while the sustained rate is measured, and for the tree's memory."""
    rounds: int
    """How often what gives one value is measured."""
    idle_seconds: float
    """How long an idle worker is watched."""
    job_counts: tuple[int, ...]
    """Numbers of sleeping jobs in one worker, for the curves."""
    worker_counts: tuple[int, ...]
    """Numbers of workers on the local registry, for the curves."""
    records: int
    """Records that are written to a journal."""
    directory: Path
    """For sockets and journals; short-lived."""
