"""The commands that load an agent: `run`, `dev`, `connect`, `doctor`; and `demo`, with its own."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from ._flags import Agent, Given, Json, Metadata, RegistryUrl, with_options, with_room_options


@with_options(leave_out=("register",))
def run(agent: Agent, given: Given, registry: RegistryUrl = None) -> None:
    """Serve a registry with an agent: a file, or a module, as it is.

    AGENT is FILE.py or package.module. The command uses the WorkerJob that is made there, or the
    function `entrypoint`; FILE.py:NAME and package.module:NAME name another. The last line of the
    file may be `job.start()`. Flags win over the environment, and both over the agent's Options.

    The token comes from the agent's Options, VSDK_TRIO_AUTH_TOKEN or VIDEOSDK_AUTH_TOKEN, or is
    signed with VIDEOSDK_API_KEY and VIDEOSDK_SECRET_KEY. VSDK_TRIO_HTTP_PROXY names a proxy.

    SIGTERM drains, Ctrl-C stops the jobs. Exit codes: 0, 1 (error), 2 (usage), 3 (jobs had to be
    killed) or 4 (the registry cannot be reached, or refuses).
    """
    from ._agent import agent_job

    agent_job(agent, given, registry=registry, register=True).start()


# Chosen by `--registry`, or by there being one in this process.
_REGISTRY = ("register", "signaling_base_url", "backend_url")


@with_options(leave_out=_REGISTRY, host="127.0.0.1", log_level="DEBUG", log_format="console")
def dev(
    agent: Agent,
    given: Given,
    registry: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Use this registry instead of one in this process. ($VSDK_TRIO_REGISTRY_URL)",
        ),
    ] = None,
    registry_port: Annotated[
        int,
        typer.Option(min=0, max=65535, help="The port of the registry in this process."),
    ] = 8080,
    transport: Annotated[str, typer.Option(help="How rooms are reached.")] = "loopback",
    watch: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Another directory to watch, for files of all kinds."),
    ] = None,
) -> None:
    """Serve an agent while it is being written: new jobs get the new code.

    AGENT is as for `vsdk-trio run`. Everything runs on this machine: a registry in this process,
    rooms in memory. Python files around the agent are watched. Running jobs keep the code that they
    started with. If a file cannot be loaded, its error is shown until the next change.

    Ctrl-C ends it.
    """
    from ._dev import serve_in_development

    serve_in_development(
        agent,
        given,
        registry_url=registry,
        registry_port=registry_port,
        transport=transport,
        watched=watch or [],
    )


# What a job's own life goes by; there is no worker around it.
_OPTIONS = (
    "agent_id",
    "permissions",
    "initialize_process_fnc",
    "shutdown_callback_timeout",
    "log_level",
)


@with_options(only=_OPTIONS)
@with_room_options(leave_out=("room_id",))
def connect(
    agent: Agent,
    given: Given,
    room_given: Given,
    room: Annotated[
        str | None,
        typer.Option(help="The room to join; by default $VIDEOSDK_ROOM_ID, or a new one."),
    ] = None,
    metadata: Metadata = None,
    room_options: Annotated[
        typer.FileText | None,
        typer.Option(metavar="FILE", help="More room options, as a JSON object."),
    ] = None,
    registry: RegistryUrl = None,
) -> None:
    """Run one job here and now, in this process: join a room, no registry.

    AGENT is as for `vsdk-trio run`. Ctrl-C stops the job and runs its shutdown callbacks; a second
    one interrupts them. If the entrypoint raises, the traceback is shown and the exit code is 1.
    No registry is contacted; --registry is checked as in other commands.
    """
    from ._agent import run_one_job

    file = None if room_options is None else room_options.read()
    room_given = {"room_id": room, **room_given} if room is not None else room_given
    run_one_job(agent, given, room_given, registry=registry, room_file=file, metadata=metadata)


@with_options(only=("signaling_base_url", "backend_url", "ca_file"))
def doctor(
    given: Given,
    agent: Annotated[
        str | None,
        typer.Argument(metavar="AGENT", help="FILE.py or MODULE, to use its options."),
    ] = None,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="The longest time for each step.")
    ] = 10.0,
    registry: RegistryUrl = None,
    as_json: Json = False,
) -> None:
    """Find out why a worker cannot register: check each step, and say what to do.

    Checks the token and its claims, then each step to the registry: proxy, DNS, connection, TLS,
    init-config, WebSocket, and a registration. That uses an agent id of its own, so it gets no
    job. The token itself is never shown. Without AGENT, the environment gives the options.

    Exit codes: 0 if every step worked, 1 if one failed, 2 for an invalid option or variable.
    """
    from ._doctor import examine_and_say

    code = examine_and_say(agent, given, registry=registry, seconds=timeout, as_json=as_json)
    raise typer.Exit(code)


def demo() -> None:
    """Show the main job on this machine: a registry, a worker, and jobs of every kind.

    Needs no account, no token and no network. Exit code 0 if every job ended as expected and no
    process was left running.
    """
    import trio

    from ._demo import run_within_limit
    from ._output import HonestConsole

    # How each job fares is on the screen; what it prints would run across that.
    logging.getLogger("vsdk_trio").addHandler(logging.NullHandler())
    raise typer.Exit(trio.run(run_within_limit, HonestConsole(soft_wrap=True)))
