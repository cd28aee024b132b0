"""`vsdk-trio top`."""

from __future__ import annotations

from typing import Annotated

import typer

from ._options import CaFile, Every, Json, LocalRegistryUrl


def top(
    url: Annotated[
        str | None,
        typer.Argument(
            metavar="URL",
            help="A registry, or the HTTP of one worker; else what --registry says.",
        ),
    ] = None,
    registry: LocalRegistryUrl = None,
    ca_file: CaFile = None,
    every: Every = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Show it once, and end.")] = False,
    as_json: Json = False,
) -> None:
    """Watch a registry, its workers and jobs, or one worker, until Ctrl-C.

    A worker that is not on this machine wants its debug_token, in VSDK_TRIO_DEBUG_TOKEN; a registry
    its token, in VSDK_TRIO_REGISTRY_TOKEN. Elsewhere than on a terminal, one picture follows the
    other; as JSON, each is one line.
    """
    from ._client import registry_at, run
    from ._top import watch_any

    run(watch_any, registry_at(registry, ca_file, argument=url), every, as_json, once)
