"""Finds the `WorkerJob` in a user's file or module, and gives it the options that win.

The user's code runs here. A file is executed as `python FILE` would, and a module as `python -m`
would, so code under `if __name__ == "__main__":` runs too; `start()` does nothing meanwhile. With
a name behind a colon, the file is imported and the name is looked up in it.
"""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import json
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import ModuleType
from typing import Any, Final

import attrs

from ..errors import EntrypointError, OptionsError, VsdkTrioError
from ..jobs.entrypoint import parse
from ..options.environment import FLAG, AddressSource, address_options, environment_values
from ..options.published import is_published
from ..options.room import RoomOptions
from ..options.worker import Options
from ..runner import recording as _recording
from ..runner.outcome import from_the_agent_on
from ..system.import_hints import explained, patched
from ..system.standard_library import require_standard_library
from ..system.stopping import ExitCode
from ..telemetry.logs.tracebacks import print_masked
from ..worker_job import WorkerJob
from ._errors import CommandError, json_object

DEFAULT_NAME: Final = "entrypoint"


def find_job(text: str) -> WorkerJob:
    """The job that `text` names: FILE.py, MODULE, or either with `:NAME` of a job or a function.

    Without a name it is the one `WorkerJob` that is made there, else the function `entrypoint`.
    Raises `CommandError` that says what there is instead, or what went wrong in the file.
    """
    target, colon, name = text.rpartition(":")
    if not colon:
        target, name = text, ""
    _check_target(target)
    _check_what_is_beside(target)
    with _told_as_one(target):
        with _recording.recording() as jobs:
            module = None if name else _executed(target)
            found = _named(text) if name else None
        made = [WorkerJob.taken_over(job) for job in jobs]
        if (why := patched()) is not None:
            raise CommandError(f"{target}: {why}", ExitCode.ERROR)
        if is_published(found, "WorkerJob"):
            found = made[[*jobs].index(found)]
    return _chosen(found, made, text) if module is None else _only(module, made, target)


def _check_target(target: str) -> None:
    if not _is_path(target):
        return
    if os.path.isfile(target):
        return
    directory = os.path.dirname(target) or os.curdir
    known = os.listdir(directory) if os.path.isdir(directory) else []
    scripts = [name for name in known if name.endswith(".py")]
    close = difflib.get_close_matches(os.path.basename(target), scripts, n=1)
    hint = f"; did you mean {os.path.join(os.path.dirname(target), close[0])}?" if close else ""
    raise CommandError(f"there is no file {target}{hint}", ExitCode.USAGE)


def _check_what_is_beside(target: str) -> None:
    try:
        require_standard_library(_directory_of(target))
    except ImportError as error:
        raise CommandError(f"{target} cannot be loaded: {error}", ExitCode.ERROR) from None


def _directory_of(target: str) -> str:
    """What stands first in Python's path as the target is loaded."""
    return os.path.dirname(os.path.abspath(target)) if _is_path(target) else os.getcwd()


def _is_path(target: str) -> bool:
    return target.endswith(".py") or os.sep in target


def _named(text: str) -> Any:
    from ..runner.loader import find

    return find(parse(text))


def _executed(target: str) -> ModuleType:
    """Execute a file or a module as the main program."""
    sys.path[:] = dict.fromkeys([_directory_of(target), *sys.path])
    if _is_path(target):
        path = os.path.abspath(target)
        spec = ModuleSpec("__main__", SourceFileLoader("__main__", path), origin=path)
        spec.has_location = True
    else:
        spec = _spec_of(target)
    module = importlib.util.module_from_spec(spec)
    module.__name__ = "__main__"
    if _is_path(target):
        module.__spec__ = None  # as it is where Python runs a file; an entrypoint is named by that
    sys.argv[:] = [module.__file__ or target]
    sys.modules["__main__"] = module
    loader: Any = spec.loader
    try:
        exec(loader.get_code(spec.name), module.__dict__)
    except SystemExit as end:
        if end.code not in (None, 0):
            raise
    return module


def _spec_of(name: str) -> ModuleSpec:
    try:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            found = importlib.util.find_spec(f"{name}.__main__")
            # A package is what its `__main__` says, as for `python -m`, or what it is itself.
            spec = found or spec
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # not the module itself, but something that it wants
        spec = None
    if spec is None or spec.loader is None or not hasattr(spec.loader, "get_code"):
        where = f"in {os.getcwd()} or on Python's path"
        raise CommandError(f"there is no module {name!r} {where}", ExitCode.USAGE)
    return spec


def _chosen(found: Any, made: list[WorkerJob], text: str) -> WorkerJob:
    """The job that a name leads to."""
    target, _, name = text.rpartition(":")
    if isinstance(found, WorkerJob):
        return found
    if found is None:
        raise CommandError(f"{target} has no {name!r}", ExitCode.USAGE)
    for job in made:
        if inspect.unwrap(job.entrypoint) is inspect.unwrap(found):
            return job
    try:
        return WorkerJob(found, options=Options(register=True))
    except EntrypointError as error:
        raise CommandError(f"{text}: {error}", ExitCode.USAGE) from None


def _only(module: ModuleType, made: list[WorkerJob], target: str) -> WorkerJob:
    """The job that a file is about."""
    if len(made) == 1:
        return made[0]
    names = {id(value): name for name, value in vars(module).items()}
    if made:
        known = [names[id(job)] for job in made if id(job) in names]
        which = f": {' or '.join(f'{target}:{name}' for name in known)}" if known else ""
        raise CommandError(
            f"{target} makes {len(made)} WorkerJobs; name one{which}", ExitCode.USAGE
        )
    functions = [
        name
        for name, value in vars(module).items()
        if inspect.iscoroutinefunction(value)
        and value.__module__ == "__main__"
        and len(inspect.signature(value).parameters) == 1
    ]
    if DEFAULT_NAME in functions:
        return WorkerJob(getattr(module, DEFAULT_NAME), options=Options(register=True))
    known = [f"{target}:{name}" for name in functions]
    hint = f"; name its entrypoint: {' or '.join(known)}" if known else ""
    raise CommandError(
        f"{target} makes no WorkerJob, and has no `async def {DEFAULT_NAME}(ctx)`{hint}",
        ExitCode.USAGE,
    )


@contextmanager
def _told_as_one(target: str) -> Iterator[None]:
    """What the user's code raises becomes one error, with the user's own lines and no others."""
    try:
        yield
    except CommandError:
        raise
    except EntrypointError as error:
        raise CommandError(str(error), ExitCode.USAGE) from None
    except OptionsError as error:
        raise CommandError(f"{target}: {error}", ExitCode.USAGE) from None
    except SystemExit as end:
        why = f"it ended by sys.exit({end.code!r}) before there was a job"
        raise CommandError(f"{target} cannot be loaded: {why}", ExitCode.ERROR) from None
    except Exception as error:
        if (hint := _hint_for(error)) is not None:
            raise CommandError(f"{target} cannot be loaded: {hint}", ExitCode.ERROR) from None
        shown = "".join(traceback.format_exception(from_the_agent_on(error)))
        raise CommandError(f"{target} cannot be loaded\n{shown.rstrip()}", ExitCode.ERROR) from None


def _hint_for(error: Exception) -> str | None:
    """One line for what a traceback would hide."""
    if isinstance(error, ModuleNotFoundError) and error.name in ("videosdk", "videosdk.agents"):
        found = explained(error)
        return found or (
            f"{error}; run `pip install videosdk-agents`, or import WorkerJob, JobContext, "
            "RoomOptions and Options from vsdk_trio"
        )
    return explained(error)


def agent_job(
    text: str,
    given: Mapping[str, Any],
    *,
    registry: str | None = None,
    defaults: Mapping[str, Any] | None = None,
    **fixed: Any,
) -> WorkerJob:
    """The job that `text` names, loaded once, with the options that win.

    Args:
        text: as a command takes it.
        given: flags, by option; they win over the environment.
        registry: the address that `--registry` has given.
        defaults: options that win over the agent's own, and that the environment wins over.
        fixed: options that win over all of them.

    Raises:
        CommandError: for what cannot be found or loaded.
        OptionsError: for a value that cannot work.
    """
    job = find_job(text)
    chosen = chosen_options(type(job.options), given, registry)
    values = {**(defaults or {}), **chosen, **fixed}
    job.options = attrs.evolve(job.options, **values)
    return job


def chosen_options(cls: type, given: Mapping[str, Any], registry: str | None) -> dict[str, Any]:
    """The options of `cls` that flags and environment give; see `agent_job`."""
    environment = environment_values(cls, os.environ)
    flags = AddressSource(FLAG, registry, given)
    return (
        environment | dict(given) | address_options(flags, AddressSource.of_environment(os.environ))
    )


def run_one_job(
    agent: str,
    given: Mapping[str, Any],
    room_given: Mapping[str, Any],
    *,
    registry: str | None,
    room_file: str | None,
    metadata: str | None,
) -> None:
    """Run the agent's entrypoint to its end; raises `SystemExit` where it raises.

    Arguments: `room_given`, room options by name; `room_file`, more of them as JSON, which those
    win over; `metadata`, an object as JSON.
    """
    job = agent_job(agent, given, registry=registry, register=False)
    context = job.context()
    in_file = {} if room_file is None else json_object(room_file, "the file of --room-options")
    context.room_options = _room_options(context.room_options, in_file, room_given)
    context.metadata = {**context.metadata, **json_object(metadata or "{}", "--metadata")}
    job.jobctx = context
    try:
        job.start()
    except VsdkTrioError:
        raise
    except Exception as error:
        # The entrypoint's own. What called it is of no use to whom it belongs to.
        print_masked(type(error), from_the_agent_on(error), error.__traceback__)
        sys.exit(ExitCode.ERROR)


def _room_options(
    own: RoomOptions, in_file: Mapping[str, Any], given: Mapping[str, Any]
) -> RoomOptions:
    merged, unknown = own.merged({**in_file, **given})
    if unknown:
        raise OptionsError(f"there is no room option {json.dumps(unknown[0])}")
    return merged
