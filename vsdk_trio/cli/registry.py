"""`vsdk-trio registry`."""

from __future__ import annotations

import logging
import os
import sys
from typing import Annotated

import typer

from ._options import TOKEN_VARIABLE


def registry(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free one.")] = 8080,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Log warnings only.")] = False,
) -> None:
    """Serve a registry until SIGINT (Ctrl-C), SIGTERM or SIGHUP.

    Workers and callers must present the token in VSDK_TRIO_REGISTRY_TOKEN, where that is set.
    """
    import trio

    handler = logging.StreamHandler()
    handler.setFormatter(_FieldsFormatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.WARNING if quiet else logging.INFO, handlers=[handler])
    token = os.environ.get(TOKEN_VARIABLE) or None
    trio.run(_serve, host, port, token)


async def _serve(host: str, port: int, token: str | None) -> None:
    import trio

    from .._signals import ending_signals
    from ..registry.core import Registry
    from ..registry.server import open_registry

    with trio.open_signal_receiver(*ending_signals()) as signals:
        async with open_registry(Registry(auth_token=token), host=host, port=port) as running:
            if token is None and host not in ("127.0.0.1", "::1", "localhost"):
                text = f"vsdk-trio: open to everybody on {host}; set {TOKEN_VARIABLE}"
                print(text, file=sys.stderr)
            print(f"registry ready at {running.url}", flush=True)
            async for _ in signals:
                break


class _FieldsFormatter(logging.Formatter):
    """Appends the ids that a record carries as fields."""

    def format(self, record: logging.LogRecord) -> str:
        names = ("agent_id", "worker_id", "job_id", "state")
        values = ((name, getattr(record, name, None)) for name in names)
        fields = "".join(f" {name}={value!r}" for name, value in values if value is not None)
        return super().format(record) + fields
