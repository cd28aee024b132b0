"""Tells a `WorkerJob` that it is being loaded by a job process and must not start a worker.

A leaf: knows nothing of what it records. A script that ends in `job.start()` is executed once in
the worker and once in every job process that loads it; in the latter, starting is only recorded.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_active: Recording | None = None


class Recording:
    """The jobs whose `start()` was called while this recording was active, first one first."""

    def __init__(self) -> None:
        self.jobs: list[object] = []


def active() -> Recording | None:
    """The recording of this process, or None where `start()` is meant to start."""
    return _active


def record(job: object) -> bool:
    """Note that `job` was started; False where nothing records, and `job` has to start itself."""
    if _active is None:
        return False
    _active.jobs.append(job)
    return True


@contextmanager
def recording() -> Iterator[Recording]:
    """Record instead of starting, for as long as the body runs; not reentrant."""
    global _active
    if _active is not None:
        raise RuntimeError("a recording is active already")
    _active = current = Recording()
    try:
        yield current
    finally:
        _active = None
