"""The worker's end of the socket to a template: a packet is an order, and may carry descriptors.

Knows sockets and the encoding; not what an order means.
"""

from __future__ import annotations

import array
import socket
from collections.abc import Sequence
from typing import Final

import trio

from .orders import MAX_ORDER_BYTES, FromTemplate, ToTemplate, decode_order, encode_order

_FDS_ROOM: Final = socket.CMSG_SPACE(4 * array.array("i").itemsize)


class TemplateLink:
    """Owns the socket. Sends from any task; receives in a single one."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = trio.socket.from_stdlib_socket(sock)
        self._sending = trio.Lock()

    def close(self) -> None:
        """End it; whoever waits here gets `trio.ClosedResourceError`. Idempotent."""
        self._socket.close()

    async def send(self, order: ToTemplate, fds: Sequence[int] = ()) -> None:
        """Send one order, and copies of `fds` with it; cancelled, it was not sent.

        Raises `FrameError` where it is too long, `trio.BrokenResourceError` where the template is
        gone, `trio.ClosedResourceError` where this end is closed.
        """
        packet = encode_order(order)
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))
        try:
            self._sending.acquire_nowait()
        except trio.WouldBlock:
            await self._sending.acquire()
        try:
            await self._socket.sendmsg([packet], [rights] if fds else [])
        except OSError as error:
            raise trio.BrokenResourceError("the template is gone") from error
        finally:
            self._sending.release()

    async def receive(self) -> tuple[FromTemplate, list[int]] | None:
        """The next order and the descriptors that came with it, which the caller owns now.

        None where the template is gone, or this end is closed.
        """
        for _ in range(2):
            try:
                packet, ancillary, _, _ = await self._socket.recvmsg(
                    MAX_ORDER_BYTES, _FDS_ROOM, socket.MSG_CMSG_CLOEXEC
                )
            except ConnectionResetError:
                # It has died with orders unread. What it had said before that comes now.
                continue
            except (OSError, trio.ClosedResourceError):
                return None
            break
        else:
            return None
        if not packet:
            return None
        fds = array.array("i")
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
        order = decode_order(packet)
        return order, list(fds)  # type: ignore[return-value]  # a template sends nothing else
