"""`vsdk-trio registry`."""

from __future__ import annotations

import logging
import os
import shlex
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .._masking import mask
from ..options.environment import secret_in
from ..system.signals import ending_signals
from ._flags import TOKEN_VARIABLE

if TYPE_CHECKING:
    from ..registry.server import RunningRegistry


def registry(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")
    ] = 8080,
    public_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="The address that workers get; by default the one that their request was sent "
            "to, also through a proxy (Forwarded, X-Forwarded-*).",
        ),
    ] = None,
    rooms: Annotated[
        bool, typer.Option("--rooms", help="Serve rooms, too; needs the extra videosdk.")
    ] = False,
    rooms_port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port of the rooms; 0 takes a free one.")
    ] = 8443,
    rooms_ca: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File for the CA certificate that jobs must trust."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Log warnings only.")] = False,
) -> None:
    """Serve a registry until SIGINT (Ctrl-C), SIGTERM or SIGHUP.

    If VSDK_TRIO_REGISTRY_TOKEN is set, workers and callers must send that token.

    With --rooms, this command serves rooms too, and jobs join them without a network. Start their
    worker with the REQUESTS_CA_BUNDLE that this command prints.
    """
    import trio

    # Here, and not in `_serve`: Trio would have a Ctrl-C meanwhile, and Python might drop it.
    from ..registry.core import Registry
    from ..registry.server import open_registry

    handler = logging.StreamHandler()
    handler.setFormatter(_FieldsFormatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.WARNING if quiet else logging.INFO, handlers=[handler])
    token = secret_in(os.environ, TOKEN_VARIABLE) or None
    serve_rooms = partial(_rooms, host, rooms_port, token, rooms_ca) if rooms else _no_rooms
    if token is None and host.strip("[]") not in ("127.0.0.1", "::1", "localhost"):
        print(
            f"vsdk-trio: anyone can use this registry on {host}; set {TOKEN_VARIABLE}",
            file=sys.stderr,
        )

    def open_it(room_options: dict[str, Any]) -> AbstractAsyncContextManager[RunningRegistry]:
        opened = Registry(auth_token=token, room_options=room_options)
        return open_registry(opened, host=host, port=port, public_url=public_url)

    trio.run(_serve, serve_rooms, open_it)


_Rooms = Callable[[], AbstractAsyncContextManager[dict[str, Any]]]
_Open = Callable[[dict[str, Any]], AbstractAsyncContextManager["RunningRegistry"]]


async def _serve(serve_rooms: _Rooms, open_it: _Open) -> None:
    import trio

    with trio.open_signal_receiver(*ending_signals()) as signals:
        async with serve_rooms() as room_options, open_it(room_options) as running:
            print(f"registry ready at {running.url}", flush=True)
            async for _ in signals:
                break


@asynccontextmanager
async def _no_rooms() -> AsyncGenerator[dict[str, Any], None]:
    yield {}


@asynccontextmanager
async def _rooms(
    host: str, port: int, token: str | None, ca_file: Path | None
) -> AsyncGenerator[dict[str, Any], None]:
    """Serve rooms, and say how to get in; yields the room options that lead a job there."""
    from ._rooms import default_ca_file, open_rooms

    ca_file = (ca_file or default_ca_file()).absolute()
    async with open_rooms(host, port, token, ca_file) as rooms:
        print(f"rooms ready at https://{rooms.signaling_base_url}")
        print(f"start workers with REQUESTS_CA_BUNDLE={shlex.quote(str(ca_file))}")
        yield {"signaling_base_url": rooms.signaling_base_url}


class _FieldsFormatter(logging.Formatter):
    """Appends the ids that a record carries as fields; and masks it all."""

    def format(self, record: logging.LogRecord) -> str:
        names = ("agent_id", "worker_id", "job_id", "state")
        values = ((name, getattr(record, name, None)) for name in names)
        fields = "".join(f" {name}={value!r}" for name, value in values if value is not None)
        return mask(super().format(record) + fields)
