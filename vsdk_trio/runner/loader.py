"""Loads the user's code by reference, outside of an event loop.

The user's code runs here, as it is imported. Knows references and recording; knows no frames.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import ModuleType
from typing import Any

import attrs

from ..errors import EntrypointError
from ..jobs.entrypoint import EntrypointRef
from ..options.room import RoomOptions
from ..system.import_hints import patched
from . import for_asyncio
from . import recording as _recording

MAIN_NAME = "__mp_main__"
"""The name under which a script is loaded: its `if __name__ == "__main__":` stays false."""


@attrs.frozen(kw_only=True)
class Loaded:
    """The user's code, ready to run."""

    entrypoint: Callable[..., Awaitable[object]]
    initialize: Callable[..., object] | None = None
    """`initialize_process_fnc`, where there is one."""
    recorded: bool = False
    """Whether loading has built, and so recorded, a `WorkerJob`."""
    live_options: RoomOptions | None = None
    """The room options of its context, with the values that cannot travel in a frame."""
    userdata: dict[str, Any] = attrs.field(factory=dict)
    """The first content of `process.userdata`."""
    callback_seconds: float = 15.0
    started_at: float = attrs.field(factory=time.perf_counter)
    """`time.perf_counter()` at this process' first line."""


@attrs.frozen(kw_only=True)
class Preloaded:
    """The results of `preload`, which ran before this process was forked."""

    jobs: Sequence[object] = ()
    """The jobs that were recorded as the user's code was imported."""
    userdata: dict[str, Any] | None = None
    """The values that `initialize_process_fnc` stored; None if it runs in each process."""


def preload(
    entrypoint: EntrypointRef,
    initialize: EntrypointRef | None,
    run_initialize: Callable[[Callable[..., object]], dict[str, Any] | None],
) -> Preloaded:
    """Import the functions, so that processes forked from this one find them loaded.

    Args:
        entrypoint: The entrypoint.
        initialize: The `initialize_process_fnc`, if there is one.
        run_initialize: Called with that function. Runs it or not, and returns the stored values.

    Raises:
        BaseException: As `loading`.
    """
    with _recording.recording() as jobs:
        load(entrypoint)
        function = None if initialize is None else load(initialize)
        userdata = None if function is None else run_initialize(function)
    return Preloaded(jobs=tuple(jobs), userdata=userdata)


@contextmanager
def loading(
    entrypoint: EntrypointRef,
    initialize: EntrypointRef | None = None,
    *,
    callback_seconds: float,
    started_at: float,
    live_options: bool = False,
    preloaded: Preloaded | None = None,
) -> Iterator[Loaded]:
    """Load the functions. During the body `WorkerJob.start()` starts nothing.

    Args:
        entrypoint: The entrypoint.
        initialize: The `initialize_process_fnc`, if there is one.
        callback_seconds: Seconds that each shutdown callback may take.
        started_at: `time.perf_counter()` at the first line of this process.
        live_options: Whether the worker's context has room options that cannot travel in a frame.
            Only then this process makes a context, too.
        preloaded: What was done before this process was forked.

    Raises:
        EntrypointError: The code does not hold the function.
        BaseException: What the user's code raised as it was imported.
    """
    if preloaded is None:
        preloaded = Preloaded()
    if preloaded.userdata is not None:
        initialize = None
    with _recording.recording(preloaded.jobs) as jobs:
        function = load(entrypoint)
        yield Loaded(
            entrypoint=function,
            initialize=None if initialize is None else load(initialize),
            recorded=bool(jobs),
            live_options=_live_options(jobs, function) if live_options else None,
            userdata=dict(preloaded.userdata or {}),
            callback_seconds=callback_seconds,
            started_at=started_at,
        )


def load(reference: EntrypointRef) -> Callable[..., Any]:
    """Import the function that `reference` names, with the path, arguments and directory in it.

    Raises:
        EntrypointError: It is not there, or Trio cannot run in this process.
    """
    function = find(reference)
    if (why := patched()) is not None:
        raise EntrypointError(why)
    if not callable(function):
        raise EntrypointError(f"{reference.target} was loaded, but has no {reference.qualname!r}")
    found: Callable[..., Any] = function
    return for_asyncio.entrypoint(found) if reference.needs_asyncio else found


def find(reference: EntrypointRef) -> Any:
    """Import the object that `reference` names; None if it is not there."""
    with suppress(OSError):  # gone, not permitted, behind a launcher: the code may not need it
        os.chdir(reference.cwd)
    sys.path[:] = dict.fromkeys([*reference.sys_path, *sys.path])
    sys.argv[:] = reference.argv
    if reference.main_path is not None:
        found: Any = _load_script(reference.main_path)
    else:
        found = importlib.import_module(reference.target)
    for name in reference.qualname.split("."):
        found = getattr(found, name, None)
    return found


def _load_script(path: str) -> ModuleType:
    """Execute a script as a real module; once, also for two functions of it."""
    known = sys.modules.get(MAIN_NAME)
    # multiprocessing uses this name, too, and for any program's main module.
    if known is not None and getattr(known, "__file__", None) == path:
        return known
    loader = SourceFileLoader(MAIN_NAME, path)
    spec = ModuleSpec(MAIN_NAME, loader, origin=path)
    spec.has_location = True  # so that the module has a `__file__`
    module = importlib.util.module_from_spec(spec)
    # A script that is run has none either. multiprocessing goes by that: it has its children
    # execute the file again, and would else have them import a module of this name.
    module.__spec__ = None
    # Before it runs: attrs, typing and pickle look a class' module up while it is being made.
    sys.modules[MAIN_NAME] = sys.modules["__main__"] = module
    try:
        loader.exec_module(module)
    except SystemExit as end:  # of a script whose last line is `sys.exit(job.start())`
        if end.code not in (None, 0) or not _recording.has_recorded():
            raise
    return module


def _live_options(jobs: Sequence[Any], function: Callable[..., Any]) -> RoomOptions | None:
    """The room options of the recorded job that runs `function`, or of the last one."""
    if not jobs:
        return None
    bare = inspect.unwrap(function)
    job = next((job for job in jobs if inspect.unwrap(job.entrypoint) is bare), jobs[-1])
    source = job.jobctx
    context = source() if callable(source) else source
    options = getattr(context, "room_options", None)
    return None if options is None else RoomOptions.taken_over(options)
