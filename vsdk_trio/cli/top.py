"""`vsdk-trio top`."""

from __future__ import annotations

from typing import Annotated

import typer

from ._options import DEFAULT_REGISTRY_URL, Every, Json


def top(
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL",
            envvar="VSDK_TRIO_REGISTRY_URL",
            help="A registry, or the HTTP of one worker.",
        ),
    ] = DEFAULT_REGISTRY_URL,
    every: Every = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Show it once, and end.")] = False,
    as_json: Json = False,
) -> None:
    """Watch a registry, its workers and jobs, or one worker, until Ctrl-C.

    A worker that is not on this machine wants its debug_token, in VSDK_TRIO_DEBUG_TOKEN; a registry
    its token, in VSDK_TRIO_REGISTRY_TOKEN. Elsewhere than on a terminal, one picture follows the
    other; as JSON, each is one line.
    """
    from ._client import run
    from ._top import watch_any

    run(watch_any, url, every, as_json, once)
