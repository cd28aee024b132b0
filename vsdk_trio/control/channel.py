"""The control channel: frames over a pair of byte streams.

The same class serves both ends and any transport: pipes, memory streams, the stdio of a launcher.

Pipes are written at once if they have room. Trio's own pipes let every other task run before they
write, and try to read before they wait. That is on the way to each job's first line, several times.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from select import PIPE_BUF

import trio

from ..errors import FrameError
from .frames import MAX_FRAME_BYTES, Frame, SendableFrame, decode_frame, encode_frame
from .ndjson import Line, LineSplitter

_CHUNK_BYTES = 1 << 16


def _ignore(reason: str) -> None:
    """Do nothing: junk is counted in any case."""


class ControlChannel:
    """Send frames from any task; iterate over the incoming ones in a single task.

    The channel does not close its streams, with one exception: an interrupted send closes
    `send_stream`, because nothing may follow half a frame.

    Args:
        send_stream: Takes outgoing frames.
        receive_stream: Brings incoming frames.
        already_read: Bytes that were read from `receive_stream` before.
        on_junk: Called with a reason for each line that is not a frame, such as a stray line of a
            remote shell, or a frame of a newer version. Junk has no other effect.
    """

    def __init__(
        self,
        send_stream: trio.abc.SendStream,
        receive_stream: trio.abc.ReceiveStream,
        *,
        already_read: bytes = b"",
        on_junk: Callable[[str], None] = _ignore,
    ) -> None:
        self._send_stream = send_stream
        self._receive_stream = receive_stream
        self._on_junk = on_junk
        self._sending = trio.Lock()
        self._splitter = LineSplitter(MAX_FRAME_BYTES)
        self._frames: deque[Frame] = deque()
        self._ended = False
        self.junk_lines = 0
        """How many incoming lines were not frames."""
        self._take(self._splitter.feed(already_read))

    @property
    def has_more(self) -> bool:
        """Whether the next frame came together with the last one."""
        return bool(self._frames)

    def send_now(self, frame: SendableFrame) -> bool:
        """Send one frame without waiting, or not at all.

        Only for small frames to a pipe, which takes those whole or not at all.

        Returns:
            Whether it was sent. If not, use `send`, which waits or raises.
        """
        try:
            line = encode_frame(frame)
        except FrameError:
            return False
        if len(line) > PIPE_BUF or self._sending.locked():
            return False
        return write_what_fits(self._send_stream, line) == len(line)

    async def send(self, frame: SendableFrame) -> None:
        """Send one frame, after those that other tasks are sending.

        Cancelled while it waits for its turn, nothing is sent. Cancelled half-way, the sending
        direction is closed, and the other end sees EOF.

        Raises:
            FrameError: The frame cannot be encoded. Nothing is sent, and the channel stays open.
            trio.BrokenResourceError: The other end is gone.
            trio.ClosedResourceError: This end is closed.
        """
        line = encode_frame(frame)
        await trio.lowlevel.checkpoint_if_cancelled()
        sent = 0 if self._sending.locked() else write_what_fits(self._send_stream, line)
        if sent < len(line):
            await self._send_rest(line[sent:])
        else:
            await trio.lowlevel.cancel_shielded_checkpoint()

    async def _send_rest(self, rest: bytes) -> None:
        try:
            self._sending.acquire_nowait()  # after a part of a frame, no other may come in between
        except trio.WouldBlock:
            await self._sending.acquire()
        try:
            await self._send_stream.send_all(rest)
        except trio.Cancelled:
            await trio.aclose_forcefully(self._send_stream)
            raise
        finally:
            self._sending.release()

    def __aiter__(self) -> ControlChannel:
        """Return the channel itself: iteration can be left and resumed."""
        return self

    async def __anext__(self) -> Frame:
        """Wait for the next frame; the iteration ends at EOF, a broken pipe or a closed stream.

        Cancelled, it has taken nothing: the next call continues with the same frame.
        """
        if self._frames:
            await trio.lowlevel.checkpoint()
            return self._frames.popleft()
        while not self._frames:
            if self._ended:
                await trio.lowlevel.checkpoint()
                raise StopAsyncIteration
            try:
                chunk = await read_some(self._receive_stream, _CHUNK_BYTES)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                chunk = b""
            if chunk:
                self._take(self._splitter.feed(chunk))
            else:
                self._ended = True
                self._take(self._splitter.rest())
        return self._frames.popleft()

    def _take(self, lines: list[Line]) -> None:
        # An empty line ends text that was printed before the first frame.
        spoken = (line for line in lines if line.data)
        self._frames += [frame for line in spoken if (frame := self._decode(line)) is not None]

    def _decode(self, line: Line) -> Frame | None:
        try:
            if line.truncated:
                raise FrameError(f"a line of more than {MAX_FRAME_BYTES} bytes")
            return decode_frame(line.data)
        except FrameError as error:
            self.junk_lines += 1
            self._on_junk(str(error))
            return None


class SimulatedPipe(trio.abc.SendStream):
    """A stream that is written like a pipe of the system: it takes at once what fits."""

    @abstractmethod
    def write_what_fits(self, data: bytes) -> int:
        """See the function of that name."""


def write_what_fits(stream: trio.abc.SendStream, data: bytes) -> int:
    """Write to a pipe without waiting, and return how many bytes it took.

    It returns 0 if there is no room, or if the stream is broken, closed or no pipe. `send_all` then
    waits, or raises the error. No other task may be writing to the stream.
    """
    if not isinstance(stream, trio.lowlevel.FdStream):
        return stream.write_what_fits(data) if isinstance(stream, SimulatedPipe) else 0
    try:
        return os.write(stream.fileno(), data)
    except OSError:
        return 0


async def read_some(stream: trio.abc.ReceiveStream, max_bytes: int) -> bytes | bytearray:
    """Wait for bytes and read them; return an empty value at the end of the stream.

    Cancelled, it has read nothing. No other task may be reading from the stream. Raises as the
    stream's `receive_some`.
    """
    if isinstance(stream, trio.lowlevel.FdStream):
        # Reading first would save nothing if there are bytes, and cost more if there are none.
        while (fd := stream.fileno()) >= 0:
            await trio.lowlevel.wait_readable(fd)
            try:
                return os.read(stream.fileno(), max_bytes)  # it may have been closed meanwhile
            except BlockingIOError:  # woken for nothing
                continue
            except OSError:
                break
    # It is no pipe, or it is closed or broken; this raises the right error.
    return await stream.receive_some(max_bytes)
