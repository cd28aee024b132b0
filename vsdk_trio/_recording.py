"""Tells a `WorkerJob` that it is being loaded by a job process and must not start a worker.

A leaf: knows nothing of what it records. A script that ends in `job.start()` is executed once in
the worker and once in every job process that loads it; there, building the job is recorded and
starting it does nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_active: list[object] | None = None


def is_recording() -> bool:
    """Whether this process records: then starting a `WorkerJob` does nothing."""
    return _active is not None


def record(job: object) -> None:
    """Note that `job` was started. Raises `RuntimeError` where nothing records."""
    if _active is None:
        raise RuntimeError("nothing records: start the job instead")
    _active.append(job)


@contextmanager
def recording() -> Iterator[list[object]]:
    """Record while the body runs; yields the list of the jobs started, which grows meanwhile."""
    global _active
    if _active is not None:
        raise RuntimeError("a recording is active already")
    jobs: list[object] = []
    _active = jobs
    try:
        yield jobs
    finally:
        _active = None
