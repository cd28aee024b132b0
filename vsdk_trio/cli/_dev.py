"""A worker in development: a registry beside it, rooms in memory, and an eye on the files.

Assembly only. Knows the order in which things start and end; not what is watched, nor what a
change means.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import trio

from .._exceptions import single_errors
from ..errors import PortInUseError
from ..options.registry_address import FLAG, Source, address_options, rest_address
from ..registry.core import Registry
from ..registry.server import open_registry
from ..system.stopping import ExitCode
from ..telemetry.logs.environment import tell_of_service_links
from ..telemetry.logs.loggers import get_logger
from ..telemetry.logs.setup import program_log
from ..worker.worker import WorkerReport
from ..worker_job import WorkerJob
from ._agent import agent_job
from ._dev_changes import Changes
from ._errors import CommandError
from ._flags import Given
from ._options import DEFAULT_REGISTRY_URL

logger: Final = get_logger("vsdk_trio.dev")

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
    sources = Source(FLAG, registry_url), Source.of_environment(os.environ)
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
