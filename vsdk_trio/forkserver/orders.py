"""The orders between a worker and the template that forks its job processes, and their encoding.

One order is one JSON object in one packet of a SOCK_SEQPACKET socket. `Brief` comes first, then a
`Fork` for each job process, which carries its three pipes as file descriptors.

Pure. Knows neither sockets nor processes.
"""

from __future__ import annotations

import json
from typing import Any, Final, TypeAlias

import attrs

from ..control.frames import from_object, to_object
from ..errors import FrameError

MAX_ORDER_BYTES: Final = 128 << 10
"""The longest packet. A socket of the usual size takes it whole."""

COOKIE_ROOM: Final = 96
"""How many bytes a template's environment holds ready for the cookie of what it forks."""


@attrs.frozen(kw_only=True)
class Brief:
    """Worker to template, first: the code to load."""

    entrypoint: dict[str, Any]
    """The entrypoint by reference, as `EntrypointRef.to_dict()` gives it."""
    initialize: dict[str, Any] | None = None
    """The same for `initialize_process_fnc`, where there is one."""
    preload: list[str] = attrs.field(factory=list)
    """Names of modules to import as well."""
    log_level: str = "INFO"
    cautious: bool = True
    """Refuse if the loaded code has opened channels, which forked processes would share."""


@attrs.frozen(kw_only=True)
class Fork:
    """Worker to template, with stdin, stdout and stderr: fork a job process."""

    id: int
    cookie: str
    argv: list[str]
    """The command line that the process shows: that of a process started afresh."""
    env: dict[str, Any] = attrs.field(factory=dict, repr=False)
    """Variables that differ from the template's; null removes one."""


@attrs.frozen(kw_only=True)
class TemplateReady:
    """Template to worker: the code is loaded; orders may come."""

    seconds: float
    """Seconds that it took."""
    warnings: list[str] = attrs.field(factory=list)


@attrs.frozen(kw_only=True)
class TemplateFailed:
    """Template to worker, last: it forks nothing, and why."""

    reason: str
    lasting: bool
    """Another attempt with the same code would end in the same way."""


@attrs.frozen(kw_only=True)
class Forked:
    """Template to worker, with a pidfd: here is the process."""

    id: int
    pid: int


@attrs.frozen(kw_only=True)
class ForkFailed:
    """Template to worker: the system refused the fork."""

    id: int
    errno: int
    error: str


@attrs.frozen(kw_only=True)
class Declined:
    """Template to worker: this template forks no more, for example because its code is old."""

    id: int
    reason: str


@attrs.frozen(kw_only=True)
class ChildExited:
    """Template to worker: the process has ended, its group was killed, its number is free."""

    pid: int
    returncode: int
    """Its exit code, or minus the signal that ended it."""


ToTemplate: TypeAlias = Brief | Fork
FromTemplate: TypeAlias = (
    TemplateReady | TemplateFailed | Forked | ForkFailed | Declined | ChildExited
)
Order: TypeAlias = ToTemplate | FromTemplate

_CLASSES: Final[dict[str, type[Order]]] = {
    "brief": Brief,
    "fork": Fork,
    "ready": TemplateReady,
    "failed": TemplateFailed,
    "forked": Forked,
    "fork_failed": ForkFailed,
    "declined": Declined,
    "exited": ChildExited,
}
_TYPES: Final = {cls: name for name, cls in _CLASSES.items()}


def encode_order(order: Order) -> bytes:
    """Return the order as one packet.

    Raises:
        FrameError: It would be longer than `MAX_ORDER_BYTES`.
    """
    name = _TYPES[type(order)]
    packet = json.dumps({"type": name, **to_object(order)}, separators=(",", ":")).encode("ascii")
    if len(packet) > MAX_ORDER_BYTES:
        raise FrameError(f"{name}: {len(packet)} bytes, more than {MAX_ORDER_BYTES}")
    return packet


def decode_order(packet: bytes) -> Order:
    """Read one packet.

    Raises:
        FrameError: `encode_order` did not make it.
    """
    try:
        value = json.loads(packet)
    except ValueError:
        raise FrameError("not a packet of JSON") from None
    name = value.get("type") if isinstance(value, dict) else None
    if not isinstance(name, str) or name not in _CLASSES:
        raise FrameError("a packet of an unknown type")
    return from_object(_CLASSES[name], value, name)
