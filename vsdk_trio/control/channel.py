"""The control channel: frames over a pair of byte streams.

The same class serves both ends and any transport: pipes, memory streams, a launcher's stdio. It
knows trio's stream interface and the frames; it does not know who is at the other end.
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
    """Junk is counted in any case; by default nobody wants to hear of it."""


class ControlChannel:
    """Send frames from any task; iterate over the incoming ones in a single task.

    Arguments: `already_read`, bytes that were taken off `receive_stream` before the channel got it;
    `on_junk`, called with a reason for every line that is not a frame. Junk costs nothing else: it
    is a stray line of a remote shell, or a version that knows more than this one.

    The channel borrows its streams: whoever opened them closes them, except that an interrupted
    send closes `send_stream`, because half a frame must not be followed by anything.
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
        """Whether the next frame is here already, together with the last one."""
        return bool(self._frames)

    def send_now(self, frame: SendableFrame) -> bool:
        """Send one frame if nothing has to be waited for; False: `send` is to be used, or says why.

        Small frames to a pipe only: it takes those whole or not at all.
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

        Raises `FrameError` where the frame cannot be encoded (nothing is sent, the channel lives
        on), `trio.BrokenResourceError` where the other end is gone, `trio.ClosedResourceError`
        where this end is closed. Cancelled while waiting its turn, nothing is sent; cancelled
        half-way, the sending direction is closed and the other end sees EOF.
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
            self._sending.acquire_nowait()  # where a part is sent, nothing may come in between
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
        """The channel is its own iterator: iteration can be left and taken up again."""
        return self

    async def __anext__(self) -> Frame:
        """The next incoming frame; the iteration ends at EOF, a broken pipe or a closed stream.

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
        # An empty line ends what others may have printed before the first frame.
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
