"""How much is measured, and where."""

from __future__ import annotations

from pathlib import Path

import attrs


@attrs.frozen(kw_only=True)
class Plan:
    """The size of one run of the benchmark."""

    jobs: int
    """Jobs for each figure that is about jobs."""
    starts: int
    """Starts of a worker."""
    at_once: int
    """Jobs at the same time while the sustained rate is measured."""
    rounds: int
    """Workers whose memory is looked at."""
    directory: Path
    """For sockets; short-lived."""
