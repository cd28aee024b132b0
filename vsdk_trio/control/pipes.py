"""Pipes without detours: what can be written at once is, and other tasks run after.

Trio's own pipes let every other task run before they write, and try to read before they wait, which
is on the way to each job's first line, several times. Knows Trio's streams; not what is in them.
Other streams are used as they are.
"""

from __future__ import annotations

import os
from abc import abstractmethod

import trio


class SimulatedPipe(trio.abc.SendStream):
    """A stream that is written as a pipe of the system is: what fits is taken at once."""

    @abstractmethod
    def write_what_fits(self, data: bytes) -> int:
        """See the function of that name."""


def write_what_fits(stream: trio.abc.SendStream, data: bytes) -> int:
    """Write to a pipe what it takes without waiting; returns how many bytes that were.

    0 where there is no room, where the stream is broken, closed or no pipe: `send_all` is to wait,
    or to say what is wrong. Nobody else may be writing to the stream.
    """
    if not isinstance(stream, trio.lowlevel.FdStream):
        return stream.write_what_fits(data) if isinstance(stream, SimulatedPipe) else 0
    try:
        return os.write(stream.fileno(), data)
    except OSError:
        return 0


async def read_some(stream: trio.abc.ReceiveStream, max_bytes: int) -> bytes | bytearray:
    """Wait until there is something, and read it; nothing at the end of the stream.

    Raises what the stream's `receive_some` does. Cancelled, it has read nothing. Nobody else may
    be reading from the stream.
    """
    if isinstance(stream, trio.lowlevel.FdStream):
        # To try to read first would save nothing where something is there, and cost more where not.
        while (fd := stream.fileno()) >= 0:
            await trio.lowlevel.wait_readable(fd)
            try:
                return os.read(stream.fileno(), max_bytes)  # it may have been closed meanwhile
            except BlockingIOError:  # woken for nothing
                continue
            except OSError:
                break
    # No pipe; or closed or broken: it says which.
    return await stream.receive_some(max_bytes)
