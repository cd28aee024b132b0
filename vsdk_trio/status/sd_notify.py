"""Tells systemd, where it has started the program, how the service is: ready, leaving, alive.

The protocol of sd_notify(3): datagrams of `NAME=value` lines to the socket that the environment
names. Knows what is told and when it is new; not what makes a worker ready.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Final

import attrs
import trio

from .._masking import mask
from .._service import Notifier
from ..system.shortages import SHORTAGES, resource_of
from ..telemetry.logs.loggers import get_logger

logger = get_logger(__name__)

# Changes come in bursts; one message tells of them all.
SETTLE_SECONDS: Final = 0.1
# systemd reads its socket; where it does not, the service goes on without.
SEND_SECONDS: Final = 5.0
SHORTAGE_SECONDS: Final = 0.2


@attrs.frozen(kw_only=True)
class ServiceState:
    """How the service is; `status` is one line for people."""

    is_ready: bool
    is_stopping: bool
    status: str


@attrs.frozen(kw_only=True)
class ServiceManager:
    """Where to tell it, and how often it wants to hear at all; None where it does not."""

    address: str
    watchdog_seconds: float | None = None

    @classmethod
    def from_env(cls, environ: Mapping[str, str], pid: int) -> ServiceManager | None:
        """The one that has started process `pid`, or None where none wants to be told."""
        address = environ.get("NOTIFY_SOCKET", "")
        if not address:
            return None
        if address[0] not in "/@":
            logger.warning("NOTIFY_SOCKET=%s is no socket of this machine; not notified", address)
            return None
        microseconds = environ.get("WATCHDOG_USEC", "")
        is_ours = environ.get("WATCHDOG_PID", str(pid)) == str(pid)
        watched = is_ours and microseconds.isascii() and microseconds.isdigit()
        seconds = int(microseconds) / 1_000_000 if watched else 0.0
        return cls(address=address, watchdog_seconds=seconds or None)


async def notify_service_manager(
    manager: ServiceManager,
    look: Callable[[], ServiceState],
    change: Notifier,
    stopping: trio.Event,
    *,
    task_status: trio.TaskStatus[None],
) -> None:
    """Service body: tell what is new after every `change`, and that we live, until `stopping`.

    The watchdog is fed from the event loop, at half its interval: it bites when the loop blocks.
    Where nobody reads, that is one warning, and no more is told.
    """
    task_status.started()
    with closing(_Notifier(manager)) as teller:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_tell_until_unheard, manager, teller, look, change)
            await stopping.wait()
            nursery.cancel_scope.cancel()
        if not look().is_stopping:
            await teller.send(["STOPPING=1"])


async def _tell_until_unheard(
    manager: ServiceManager,
    teller: _Notifier,
    look: Callable[[], ServiceState],
    change: Notifier,
) -> None:
    watched = manager.watchdog_seconds is not None
    interval = (manager.watchdog_seconds or math.inf) / 2
    next_sign_of_life = trio.current_time()
    while True:
        fields = teller.news(look())
        if watched and trio.current_time() >= next_sign_of_life:
            fields.append("WATCHDOG=1")
            next_sign_of_life = trio.current_time() + interval
        if fields:
            if not await teller.send(fields):
                return
            continue  # there may be news since
        with trio.move_on_at(next_sign_of_life if watched else math.inf) as waiting:
            await change.wait()
        if not waiting.cancelled_caught:
            await trio.sleep(min(SETTLE_SECONDS, interval / 4))


class _Notifier:
    """What was sent so far, and the socket."""

    def __init__(self, manager: ServiceManager) -> None:
        # An abstract address begins with a zero byte, written as @.
        name = manager.address
        self._address = "\0" + name[1:] if name.startswith("@") else name
        self._socket: trio.socket.SocketType | None = None
        self._was_ready = False
        self._was_stopping = False
        self._status = ""

    def news(self, state: ServiceState) -> list[str]:
        """The fields that are not as they were told last."""
        fields = []
        if state.is_ready and not self._was_ready:
            self._was_ready = True
            fields.append("READY=1")
        if state.is_stopping and not self._was_stopping:
            self._was_stopping = True
            fields.append("STOPPING=1")
        if state.status != self._status:
            self._status = state.status
            fields.append(f"STATUS={' '.join(state.status.split())}")
        return fields

    async def send(self, fields: list[str]) -> bool:
        """Whether it could be sent. During a shortage it is tried again: a watchdog waits."""
        message = mask("\n".join(fields)).encode()
        while True:
            try:
                with trio.fail_after(SEND_SECONDS):
                    await self._open().sendto(message, self._address)
                return True
            except (OSError, trio.TooSlowError) as error:
                if (resource := resource_of(error)) is None:
                    name = os.fsdecode(self._address)
                    logger.warning("systemd gets no notifications any more (%r): %r", name, error)
                    return False
                SHORTAGES.note(resource, "tell systemd", error)
            await trio.sleep(SHORTAGE_SECONDS)

    def _open(self) -> trio.socket.SocketType:
        """Its socket, which is kept: later there may be none to be had."""
        if self._socket is None:
            self._socket = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_DGRAM)
        return self._socket

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
