"""`vsdk-trio connect`."""

from __future__ import annotations

from typing import Annotated

import typer

from ._flags import Given, with_options, with_room_options
from ._options import Agent, Metadata, RegistryUrl

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

    AGENT is as for `vsdk-trio run`. Ctrl-C ends the job politely; a second one interrupts its
    cleaning up. What the entrypoint raises is shown, and ends the program with 1. No registry is
    asked: --registry is taken, and checked, as other commands do.
    """
    from ._connect import run_one_job

    file = None if room_options is None else room_options.read()
    room_given = {"room_id": room, **room_given} if room is not None else room_given
    run_one_job(agent, given, room_given, registry=registry, room_file=file, metadata=metadata)
