"""`vsdk-trio dev`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ._flags import Given, with_options
from ._options import Agent

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
            help="A registry that is there already; else there is one in this process. "
            "($VSDK_TRIO_REGISTRY_URL)",
        ),
    ] = None,
    registry_port: Annotated[
        int,
        typer.Option(min=0, max=65535, help="Where the registry in this process listens."),
    ] = 8080,
    transport: Annotated[str, typer.Option(help="How rooms are reached.")] = "loopback",
    watch: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Another place to watch, for files of every kind."),
    ] = None,
) -> None:
    """Serve an agent while it is being written: new jobs get the new code.

    AGENT is as for `vsdk-trio run`. Everything runs on this machine: a registry in this process,
    rooms in memory. Python files around the agent are watched; running jobs finish on the code that
    they have begun with. A file that cannot be loaded is shown, and the next change is awaited.

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
