"""Tells a `WorkerJob` that its script is only being loaded and must not start a worker.

A leaf: knows nothing of what it records. A script that ends in `job.start()` is executed once in
the worker and once in every job process that loads it; there, building the job is recorded and
starting it does nothing, also where the job is one of the published package. The script is executed
again in the children that multiprocessing spawns, which record nothing and must start nothing
either.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from .published_jobs import held_back

_active: list[object] | None = None


def is_recording() -> bool:
    """Whether this process records the jobs that are built in it."""
    return _active is not None


def has_recorded() -> bool:
    """Whether a job has been built since the recording began."""
    return bool(_active)


def is_only_loading() -> bool:
    """Whether a script is executed for what it defines: then starting a job does nothing."""
    if is_recording():
        return True
    # Looked up and not imported: a process that has not loaded it is no child of its.
    multiprocessing = sys.modules.get("multiprocessing.process")
    if multiprocessing is None:
        return False
    # Its own mark of a child that is not done with the main module; it refuses to start
    # processes by it.
    return bool(getattr(multiprocessing.current_process(), "_inheriting", False))


def record(job: object) -> None:
    """Note that `job` was built. Raises `RuntimeError` where nothing records."""
    if _active is None:
        raise RuntimeError("nothing records: start the job instead")
    _active.append(job)


@contextmanager
def recording(before: Iterable[object] = ()) -> Iterator[list[object]]:
    """Record while the body runs; yields the list of the jobs built, which grows meanwhile.

    `before`: jobs that were recorded already, where the script is loaded and will not be executed
    again: in a process that was forked after that.
    """
    global _active
    if _active is not None:
        raise RuntimeError("a recording is active already")
    jobs: list[object] = list(before)
    _active = jobs
    try:
        with held_back(is_recording, record):
            yield jobs
    finally:
        _active = None
