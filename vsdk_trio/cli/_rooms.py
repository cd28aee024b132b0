"""The rooms of a local registry: the stand-in for the hosted room service, where it is asked for.

Needs the extra `videosdk`, whose media stack it uses. Must not know the registry.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import pwd
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from ..options.extras import how_to_install
from ..system.stopping import ExitCode
from ..system.threads import run_in_thread
from ..testing.videosdk import FakeVideoSDK, open_fake_videosdk
from ._errors import CommandError

_GOODBYE_SECONDS = 2.0
_ANOTHER_PLACE = "--rooms-ca FILE names another place"


def default_ca_file() -> Path:
    """The default file for the CA certificate that jobs must trust.

    Raises `CommandError` where there is no such place.
    """
    cache = os.environ.get("XDG_CACHE_HOME", "").strip()
    return (Path(cache) if cache else _home() / ".cache") / "vsdk-trio" / "rooms-ca.pem"


def _home() -> Path:
    """Not `Path.home()`, which takes an empty HOME for the root directory."""
    if home := os.environ.get("HOME", "").strip():
        return Path(home)
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        raise CommandError(
            f"there is no HOME to write the certificate to that jobs must trust; {_ANOTHER_PLACE}",
            ExitCode.USAGE,
        ) from None


@asynccontextmanager
async def open_rooms(
    host: str, port: int, token: str | None, ca_file: Path
) -> AsyncGenerator[FakeVideoSDK, None]:
    """Serve rooms on `host` and `port`; writes to `ca_file` whom jobs have to trust.

    Raises `CommandError` where something is missing, or the host or the file would not work,
    `PortInUseError` where the port is taken.
    """
    if not all(importlib.util.find_spec(name) for name in ("vsaiortc", "trustme")):
        raise CommandError(f"--rooms needs more: {how_to_install('videosdk')}")
    address = _reachable(host)
    tokens = None if token is None else frozenset({token})
    await run_in_thread("prepare the rooms", _prepare, ca_file)
    async with open_fake_videosdk(host=address, port=port, tokens=tokens, ca_file=ca_file) as rooms:
        yield rooms
        with trio.move_on_after(_GOODBYE_SECONDS):
            await rooms.end_all()


def _prepare(ca_file: Path) -> None:
    try:
        ca_file.parent.mkdir(parents=True, exist_ok=True)
        ca_file.touch()
    except OSError as error:
        raise CommandError(f"cannot write {ca_file}: {error.strerror}; {_ANOTHER_PLACE}") from None


def _reachable(host: str) -> str:
    """`host` as the address that media are sent to."""
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        address = ipaddress.ip_address("0.0.0.0")
    if address.is_unspecified:
        raise CommandError(
            f"--rooms needs an address that jobs can send to, not {host!r}: "
            "give one by --host, such as 127.0.0.1"
        )
    return str(address)
