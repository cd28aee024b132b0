"""While a script is only loaded, its `WorkerJob` is recorded and starts no worker.

A script that ends in `job.start()` is executed once in the worker and once in each job process
that loads it. There, building the job records it and starting it does nothing. The same holds for
the `WorkerJob` of the published package, `videosdk-agents`; its `JobContext` then opens no event
loop. The script is executed again in the children that multiprocessing spawns. They record nothing,
and must start nothing either.

A leaf. It imports nothing of the published package.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any, Final, NoReturn

from ..errors import EntrypointError

IsLoading = Callable[[], bool]
Record = Callable[[object], None]


@contextmanager
def held_back(is_loading: IsLoading, record: Record) -> Iterator[None]:
    """During the body, change the classes of the published package as they are imported.

    A class that was changed once stays changed.

    Args:
        is_loading: Called each time: whether starting a job does nothing.
        record: Called with each job that is made meanwhile.
    """
    finder = _Finder(is_loading, record)
    for name in _CHANGES.keys() & sys.modules.keys():
        finder.change(sys.modules[name])
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Finder(MetaPathFinder):
    """Finds modules as usual, and changes their classes as soon as they are loaded."""

    def __init__(self, is_loading: IsLoading, record: Record) -> None:
        self._is_loading = is_loading
        self._record = record

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """As of `MetaPathFinder`."""
        if fullname not in _CHANGES:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        loader: Any = None if spec is None else spec.loader
        if loader is not None:
            execute = loader.exec_module

            def execute_and_change(module: ModuleType) -> None:
                execute(module)
                self.change(module)

            loader.exec_module = execute_and_change
        return spec

    def change(self, module: ModuleType) -> None:
        """Change the classes in `module`; once."""
        for class_name, change in _CHANGES[module.__name__].items():
            cls = getattr(module, class_name, None)
            if cls is not None and not hasattr(cls, _MARK):
                setattr(cls, _MARK, True)
                change(cls, self._is_loading, self._record)


_MARK: Final = "_vsdk_trio_holds_back"


def _change_job(cls: Any, is_loading: IsLoading, record: Record) -> None:
    make, start = cls.__init__, cls.start

    @functools.wraps(make)
    def make_and_record(job: Any, *arguments: Any, **named: Any) -> None:
        make(job, *arguments, **named)
        if is_loading():
            record(job)

    @functools.wraps(start)
    def start_if_run(job: Any) -> None:
        if not is_loading():
            start(job)

    cls.__init__, cls.start = make_and_record, start_if_run


class _NoLoop:
    """Stands for the event loop of a context that is made as its script is loaded.

    The package would open one, which processes that are forked from this one must not share.
    """

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(
            f"no event loop has a {name!r} for this JobContext, which was made as its script was "
            "loaded; use the one that the entrypoint gets"
        )


def _change_context(cls: Any, is_loading: IsLoading, _: Record) -> None:
    make = cls.__init__

    @functools.wraps(make)
    def make_without_loop(context: Any, *arguments: Any, **named: Any) -> None:
        asyncio: Any = sys.modules.get("asyncio")
        has_loop = asyncio is not None and asyncio._get_running_loop() is not None
        if is_loading() and not has_loop:
            named["loop"] = named.get("loop") or _NoLoop()
        make(context, *arguments, **named)

    cls.__init__ = make_without_loop


def _change_worker(cls: Any, is_loading: IsLoading, _: Record) -> None:
    run = cls.run_worker

    @functools.wraps(run)
    def refuse_or_run(*arguments: Any, **named: Any) -> Any:
        if is_loading():
            raise EntrypointError(
                "Worker.run_worker() of videosdk.agents starts that package's own worker; write "
                "WorkerJob(entrypoint=..., options=Options(...)).start() instead"
            )
        return run(*arguments, **named)

    cls.run_worker = staticmethod(refuse_or_run)


_CHANGES: Final[dict[str, dict[str, Callable[[Any, IsLoading, Record], None]]]] = {
    "videosdk.agents.job": {"WorkerJob": _change_job, "JobContext": _change_context},
    "videosdk.agents.worker": {"Worker": _change_worker},
}
"""By module: the classes, and how each is changed."""


_active: list[object] | None = None


def is_recording() -> bool:
    """Whether this process records the jobs that are built in it."""
    return _active is not None


def has_recorded() -> bool:
    """Whether a job has been built since the recording began."""
    return bool(_active)


def is_only_loading() -> bool:
    """Return whether a script is only loaded: then starting a job does nothing."""
    if is_recording():
        return True
    # Not imported: a process that has not loaded multiprocessing is no child of it.
    multiprocessing = sys.modules.get("multiprocessing.process")
    if multiprocessing is None:
        return False
    # multiprocessing sets this while a child executes the main module.
    return bool(getattr(multiprocessing.current_process(), "_inheriting", False))


def record(job: object) -> None:
    """Record that `job` was built.

    Raises:
        RuntimeError: This process records no jobs.
    """
    if _active is None:
        raise RuntimeError("nothing records: start the job instead")
    _active.append(job)


@contextmanager
def recording(before: Iterable[object] = ()) -> Iterator[list[object]]:
    """Record jobs while the body runs.

    Args:
        before: Jobs that were recorded before this process was forked: their script is loaded
            already and will not be executed again.

    Yields:
        The list of the jobs, which grows meanwhile.
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
