"""`vsdk-trio dev`: a registry and a worker in one process; new jobs get the code of changed files.

A file that cannot be loaded is shown as an error. Running jobs keep the code they started with.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import IO, Any, Final, TypeAlias

import attrs
import trio
from watchfiles import Change, DefaultFilter, awatch
from watchfiles._rust_notify import WatchfilesRustInternalError

from .._exceptions import single_errors
from ..errors import PortInUseError, ShortageError
from ..options.environment import FLAG, AddressSource, address_options, rest_address
from ..registry.core import Registry
from ..registry.server import open_registry
from ..system.shortages import shortage_among
from ..system.stopping import ExitCode
from ..system.threads import starting_threads
from ..telemetry.logs.loggers import get_logger
from ..telemetry.logs.setup import program_log, tell_of_service_links
from ..worker.worker import WorkerHandle, WorkerReport
from ..worker_job import WorkerJob
from ._agent import agent_job
from ._errors import CommandError
from ._flags import DEFAULT_REGISTRY_URL, Given

logger: Final = get_logger("vsdk_trio.dev")

# A burst of changes ends with a pause of this length: a checkout of many files is one burst.
_PAUSE_MS: Final = 250
# How often the directories themselves are looked at: the kernel watches one, and not its name.
_LOOK_MS: Final = 500
# Without the kernel's help each file is looked at, and there may be many.
_POLL_MS: Final = 1000
_RETRY_SECONDS: Final = 1.0

Identities: TypeAlias = dict[Path, tuple[int, int] | None]
"""What stands under each name now, as device and inode; None where nothing does."""


class _Filter(DefaultFilter):
    """Python files, and every file below a directory that was asked for."""

    def __init__(self, every_kind: Sequence[Path]) -> None:
        super().__init__()
        self._every_kind = tuple(os.path.join(path, "") for path in every_kind)

    def __call__(self, change: Change, path: str) -> bool:
        wanted = path.endswith(".py") or path.startswith(self._every_kind)
        return wanted and super().__call__(change, path)


@attrs.define
class Watch:
    """Watches `directories` for Python files, and those `of_every_kind` for all files."""

    directories: Sequence[Path]
    of_every_kind: Sequence[Path]
    _polling: bool = attrs.field(default=False, init=False)

    async def bursts(self) -> AsyncGenerator[set[str]]:
        """The paths of each burst of changes; the first burst is empty.

        A change that comes after the first burst is in a later one. A directory that goes away is
        watched again once it is back, and counts as changed then.
        """
        has_begun = False
        known = self._identities()
        for path, identity in known.items():
            if identity is None:
                logger.warning("there is no directory %s yet; it is watched once there is", path)
        back: set[str] = set()
        while True:
            try:
                async with aclosing(self._watched(known)) as bursts:
                    async for burst in bursts:
                        if not has_begun:
                            has_begun = True
                            yield set()
                        if changed := burst | back:
                            back = set()
                            yield changed
                        if (now := self._identities()) != known:
                            back = _tell(known, now)
                            known = now
                            break
            except (ShortageError, OSError):
                # A shortage is in the log by now; a directory that has just gone away is looked at.
                await trio.sleep(_RETRY_SECONDS)
                known = self._identities()
            except WatchfilesRustInternalError as error:
                if self._polling:
                    await trio.sleep(_RETRY_SECONDS)
                else:
                    logger.warning(
                        "the system watches no more files (%s), so they are looked at once a "
                        "second; raise fs.inotify.max_user_watches or max_user_instances",
                        error,
                    )
                    self._polling = True

    async def _watched(self, known: Identities) -> AsyncGenerator[set[str]]:
        """Bursts of changes below what is there; an empty one where there was none for a while."""
        paths = [path for path, identity in known.items() if identity is not None]
        if not paths:
            while True:
                await trio.sleep(_LOOK_MS / 1000)
                yield set()
        watching = awatch(
            *paths,
            watch_filter=_Filter(self.of_every_kind),
            step=_PAUSE_MS,
            rust_timeout=_LOOK_MS,
            yield_on_timeout=True,
            poll_delay_ms=_POLL_MS,
            force_polling=self._polling or None,  # None: as its environment variable says
            ignore_permission_denied=True,
        )
        with starting_threads("watch files"):
            async with aclosing(watching):
                async for changes in watching:
                    yield {path for _, path in changes}

    def _identities(self) -> Identities:
        return {path: _identity(path) for path in self.directories}


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _tell(before: Identities, now: Identities) -> set[str]:
    """Log which directories are gone; returns those that are there anew."""
    for path, identity in now.items():
        if identity is None and before[path] is not None:
            logger.warning("%s is gone; it is watched again once it is back", path)
    return {
        str(path)
        for path, identity in now.items()
        if identity is not None and identity != before[path]
    }


CHECK_SECONDS: Final = 30.0
_LOOKING: Final = "look at what has changed"
# Of what a program says that cannot load the agent: the end counts.
_MOST_SAID: Final = 1 << 16


def _resolved(paths: Sequence[Path]) -> list[Path]:
    return [path.resolve() for path in paths]  # as the changes will be told


@attrs.frozen
class Changes:
    """Watches the files around `agent`, and those below `watched`."""

    agent: str
    watched: Sequence[Path] = attrs.field(converter=_resolved)
    _cwd: Path = attrs.field(factory=Path.cwd, init=False)
    """By its name, as the directory itself may be made anew."""

    async def watch(self, handle: WorkerHandle) -> None:
        """Until cancelled: after each change, have new jobs load the code anew if they can."""
        paths = [_directory_of(self.agent), *self.watched]
        async with aclosing(Watch(paths, self.watched).bursts()) as bursts:
            await anext(bursts)  # from here on no change is missed
            known = await self._look()
            logger.info("watching %s", ", ".join(str(path) for path in paths))
            async for burst in bursts:
                logger.info("changed: %s", _names(burst, self._cwd))
                found = await self._look()
                if found is None:
                    continue
                running = handle.job_count
                handle.renew()
                finishing = f"; {running} running finish on the old code" if running else ""
                logger.info("new jobs get the new code%s", finishing)
                if known is not None and (other := _differences(known, found)):
                    logger.warning(
                        "%s changed: the worker itself reads that once; restart dev to have it",
                        ", ".join(other),
                    )

    async def _look(self) -> dict[str, Any] | None:
        """What the worker would be made of; None, and an error in the log, where it cannot be."""
        with trio.move_on_after(CHECK_SECONDS):
            try:
                # Files, because what the agent starts may keep a pipe open for as long as it runs.
                with tempfile.TemporaryFile() as answer, tempfile.TemporaryFile() as said:
                    code = await self._run_look(answer, said)
                    answer.seek(0)
                    if code == 0 and (text := answer.read()):
                        found: dict[str, Any] = json.loads(text)
                        return found
                    why = _end_of(said) or f"{self.agent} ended its process ({code}) while loading"
            except OSError as error:
                logger.error(
                    "%s; the next change tries again",
                    shortage_among(error, _LOOKING) or f"cannot {_LOOKING}: {error}",
                )
                return None
            logger.error("%s\nuntil the next change, idle processes keep the code they have", why)
            return None
        logger.error("%s was not loaded within %g s", self.agent, CHECK_SECONDS)
        return None

    async def _run_look(self, answer: IO[bytes], said: IO[bytes]) -> int:
        """Load the agent in a process of its own; returns its exit code."""
        fd = answer.fileno()
        with starting_threads(_LOOKING):
            done = await trio.run_process(
                [sys.executable, "-m", "vsdk_trio.cli._dev_look", str(fd), self.agent],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                pass_fds=[fd],
                cwd=self._cwd,
                check=False,
            )
        return done.returncode


def _end_of(said: IO[bytes]) -> str:
    size = said.seek(0, os.SEEK_END)
    said.seek(max(0, size - _MOST_SAID))
    return said.read().decode(errors="replace").rstrip()


def _directory_of(agent: str) -> Path:
    target = agent.rpartition(":")[0] or agent
    is_path = target.endswith(".py") or os.sep in target
    return Path(target).resolve().parent if is_path else Path.cwd()


def _names(paths: Iterable[str], start: Path) -> str:
    names = sorted({os.path.relpath(path, start) for path in paths})
    return ", ".join(names[:5]) + (" ..." if names[5:] else "")


def _differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return sorted(
        name for name in before.keys() | after.keys() if before.get(name) != after.get(name)
    )


# What development wants, unless a flag or the environment says otherwise.
_DEFAULTS: Final = {
    "host": "127.0.0.1",
    "log_level": "DEBUG",
    "log_format": "console",
    "state_dir": None,
}


def serve_in_development(
    agent: str,
    given: Given,
    *,
    registry_url: str | None,
    registry_port: int,
    transport: str,
    watched: Sequence[Path],
) -> None:
    """Serve until a signal; raises what a worker raises, and `SystemExit` where jobs were killed.

    Arguments: `registry_url`, what `--registry` has given; where nothing says where a registry is,
    there is one in this process, on `registry_port`; `watched`, directories besides the agent's.
    """
    # For the processes of the jobs: Python takes a file that is saved twice within a second, at
    # the same size, for the one that it has compiled before.
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    sources = AddressSource(FLAG, registry_url), AddressSource.of_environment(os.environ)
    fixed = {"backend_url": None, **address_options(*sources)}
    job = agent_job(agent, given, registry=registry_url, defaults=_DEFAULTS, register=True, **fixed)
    registry_url = rest_address(*sources, default="") or None
    context = job.context()
    context.room_options, _ = context.room_options.merged({"transport_mode": transport})
    port = context.room_options.websocket.port
    if registry_url is None and transport == "websocket" and port == registry_port:
        raise CommandError(
            f"a room of transport websocket listens on port {port}, and so does the registry; "
            f"choose another port: --registry-port {port + 10}",
            ExitCode.USAGE,
        )
    job.jobctx = context
    options = job.options
    with program_log(options.log_level, options.log_format), single_errors():
        tell_of_service_links(os.environ)
        report = trio.run(_serve, job, agent, registry_url, registry_port, watched)
    if report.killed:
        raise SystemExit(ExitCode.JOBS_KILLED)


async def _serve(
    job: WorkerJob,
    agent: str,
    registry_url: str | None,
    registry_port: int,
    watched: Sequence[Path],
) -> WorkerReport:
    changes = Changes(agent, watched)
    reports: list[WorkerReport] = []
    async with _open_registry(registry_url, registry_port) as url, trio.open_nursery() as nursery:
        if registry_url is None:
            job.options.signaling_base_url = url
            job.options.http_proxy = None
            job.options.auth_token = job.options.auth_token or "local"  # any will do here
        worker = job.worker()

        async def serve(*, task_status: trio.TaskStatus[Any]) -> None:
            reports.append(await worker.run(task_status=task_status))
            nursery.cancel_scope.cancel()

        handle = await nursery.start(serve)
        name = job.options.agent_id
        flag = "" if url == DEFAULT_REGISTRY_URL else f" --registry {url}"
        logger.info("serving %r; send it a job: vsdk-trio dispatch %s%s", name, name, flag)
        await changes.watch(handle)
    return reports[0]


@asynccontextmanager
async def _open_registry(url: str | None, port: int) -> AsyncGenerator[str]:
    if url is not None:
        yield url
        return
    try:
        async with open_registry(Registry(), port=port) as running:
            logger.info("registry at %s", running.url)
            yield running.url
    except PortInUseError as error:
        raise CommandError(
            f"{error} (--registry-port; or name the registry that is there: "
            f"--registry http://127.0.0.1:{port})"
        ) from None
