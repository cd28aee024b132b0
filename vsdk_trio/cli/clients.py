"""The commands that ask a registry or a worker for something.

They are `dispatch`, `jobs`, `terminate`, `workers`, `top` and `drain`.
"""

from __future__ import annotations

import os
from typing import Annotated
from urllib.parse import quote

import typer

from ._flags import CaFile, Every, JobId, Json, LocalRegistryUrl, Metadata


def dispatch(
    agent: Annotated[str, typer.Argument(metavar="AGENT_ID", help="The agent id of the workers.")],
    room: Annotated[str | None, typer.Option(help="The room; a new one by default.")] = None,
    metadata: Metadata = None,
    wait: Annotated[
        bool,
        typer.Option(
            "--wait",
            help="Wait for the job to end: exit 0 if it completed, 5 if it failed, 6 if cancelled.",
        ),
    ] = False,
    timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", min=0, help="Stop waiting after this time; the job goes on."
        ),
    ] = None,
    registry: LocalRegistryUrl = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Send a job to the least loaded worker of an agent.

    With --wait the exit code is 0 if the job completed, 5 if it failed, and 6 if it was cancelled.
    Ctrl-C stops the waiting, not the job.
    """
    from ._client import registry_at, run
    from ._errors import json_object
    from ._requests import dispatch_and_say

    given = None if metadata is None else json_object(metadata, "--metadata")
    body = {"agentId": agent, "meetingId": room, "metadata": given}
    raise typer.Exit(
        run(dispatch_and_say, registry_at(registry, ca_file), body, wait, timeout, as_json)
    )


def jobs(
    job_id: Annotated[
        str | None,
        typer.Argument(
            metavar="JOB_ID", help="Show one job in full: its id, or a unique beginning of it."
        ),
    ] = None,
    registry: LocalRegistryUrl = None,
    ca_file: CaFile = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Show them again and again, until Ctrl-C.")
    ] = False,
    every: Every = 1.0,
    as_json: Json = False,
) -> None:
    """List the jobs that a registry knows, oldest first.

    On a terminal each job is one line: ids are shortened, and long texts end with "…". In a pipe,
    no text is cut.
    """
    from ._client import registry_at, run
    from ._watch import watch_job, watch_jobs

    peer = registry_at(registry, ca_file)
    if job_id is None:
        run(watch_jobs, peer, every, as_json, not watch)
    else:
        run(watch_job, peer, job_id, every, as_json, not watch)


def terminate(
    job_id: JobId,
    reason: Annotated[
        str, typer.Option(help="The reason that the job gets.")
    ] = "terminated from the command line",
    registry: LocalRegistryUrl = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Terminate a job."""
    from ._client import registry_at, run
    from ._output import harmless, print_json

    path = f"/v2/agent/jobs/{quote(os.fsencode(job_id), safe='')}/terminate"
    answer = run(registry_at(registry, ca_file).ask, "POST", path, {"reason": reason})
    if as_json:
        print_json(answer)
    else:
        known = answer.get("job")
        whole = known.get("job_id") if isinstance(known, dict) else None
        print(harmless(f"{whole or job_id} {answer.get('message')}"))


def workers(
    registry: LocalRegistryUrl = None, ca_file: CaFile = None, as_json: Json = False
) -> None:
    """List the workers that a registry knows, with their load and their jobs."""
    from ._client import registry_at, run
    from ._watch import show_workers

    run(show_workers, registry_at(registry, ca_file), as_json)


def top(
    url: Annotated[
        str | None,
        typer.Argument(
            metavar="URL",
            help="A registry, or the HTTP of one worker; by default --registry.",
        ),
    ] = None,
    registry: LocalRegistryUrl = None,
    ca_file: CaFile = None,
    every: Every = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Show it once, and exit.")] = False,
    as_json: Json = False,
) -> None:
    """Watch a registry, its workers and jobs, or one worker, until Ctrl-C.

    A worker on another machine needs its debug_token in VSDK_TRIO_DEBUG_TOKEN, a registry with a
    token that one in VSDK_TRIO_REGISTRY_TOKEN. On a terminal, the view is updated in place. In a
    pipe, each view follows the last; as JSON, each is one line.
    """
    from ._client import registry_at, run
    from ._watch import watch_any

    run(watch_any, registry_at(registry, ca_file, argument=url), every, as_json, once)


def drain(
    url: Annotated[
        str,
        typer.Argument(
            metavar="WORKER_URL", help="The worker's own HTTP, such as http://127.0.0.1:8081."
        ),
    ],
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the worker has ended.")] = False,
    timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=0,
            help="Stop waiting after this time; the worker goes on draining.",
        ),
    ] = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Make a worker stop taking jobs, let running jobs finish, and exit. Like SIGTERM.

    A worker on another machine needs its debug_token in VSDK_TRIO_DEBUG_TOKEN.
    """
    from ._client import run, worker_at
    from ._requests import drain_worker

    run(drain_worker, worker_at(url, ca_file), wait, timeout, as_json)
