"""`vsdk-trio doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from ._flags import Given, with_options
from ._options import Json, RegistryUrl


@with_options(only=("signaling_base_url", "backend_url", "ca_file"))
def doctor(
    given: Given,
    agent: Annotated[
        str | None,
        typer.Argument(metavar="AGENT", help="FILE.py or MODULE, for the options that it has."),
    ] = None,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="The longest time for each step.")
    ] = 10.0,
    registry: RegistryUrl = None,
    as_json: Json = False,
) -> None:
    """Find out why a worker cannot register: each step on its way, and what to do.

    Looks at the token and its claims, then takes the way to the registry: proxy, DNS, connection,
    TLS, init-config, WebSocket, and a registration under a name of its own, so that no job can
    come. The token itself is never shown. Without AGENT, the options are those of the environment.

    Ends with 0 where every step is as it should be, with 1 where one has failed, and with 2 where
    an option or a variable cannot work.
    """
    from ._doctor import examine_and_say

    code = examine_and_say(agent, given, registry=registry, seconds=timeout, as_json=as_json)
    raise typer.Exit(code)
