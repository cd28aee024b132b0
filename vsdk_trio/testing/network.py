"""A simulated network: connections that are slow, cut, half-open or silent, as a test wants them.

Deterministic: every delay and split comes from the `random.Random` that a test passes in, in an
order that depends on the run alone. Knows no protocol. `MemoryDialer` connects without any faults.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise
from typing import TypeAlias

import attrs
import trio
import trio.abc
import trio.testing

from ..errors import ConnectError
from .pipes import Agenda, Pipe


@attrs.frozen(kw_only=True)
class Weather:
    """How one connection carries bytes: seconds, a share from 0 to 1, bytes per second."""

    delay_seconds: float = 0.0
    jitter_seconds: float = 0.0
    split_share: float = 0.0
    bytes_per_second: float | None = None


class _WeatherShape:
    def __init__(self, weather: Weather, rng: random.Random) -> None:
        self._weather = weather
        self._rng = rng

    def pieces(self, data: bytes) -> Sequence[tuple[float, bytes]]:
        weather, rng = self._weather, self._rng
        cuts = [0, len(data)]
        if weather.split_share and rng.random() < weather.split_share:
            cuts += [rng.randrange(len(data)) for _ in range(rng.randint(1, 3))]
            cuts.sort()
        found = []
        for start, stop in pairwise(cuts):
            if start == stop:
                continue
            delay = weather.delay_seconds
            if weather.jitter_seconds:
                delay += weather.jitter_seconds * rng.random()
            if weather.bytes_per_second is not None:
                delay += stop / weather.bytes_per_second
            found.append((delay, data[start:stop]))
        return found


class NetworkStream(trio.abc.HalfCloseableStream):
    """One end of a connection."""

    def __init__(self, out: Pipe, into: Pipe) -> None:
        self._out = out.sender
        self._into = into.receiver

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """See `trio.abc.SendStream`."""
        await self._out.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """See `trio.abc.SendStream`."""
        await self._out.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """See `trio.abc.HalfCloseableStream`."""
        with self._out._busy:
            if self._into.pipe._receive_closed:
                raise trio.ClosedResourceError("this stream is closed")
            self._out.close()
            await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """See `trio.abc.ReceiveStream`."""
        return await self._into.receive_some(max_bytes)

    async def aclose(self) -> None:
        """See `trio.abc.AsyncResource`."""
        self._out.close()
        self._into.close()
        await trio.lowlevel.checkpoint()


class Connection:
    """Two pipes between a dialing side and a serving side, and what can go wrong with them.

    `up` leads from the dialing side to the serving side. `faulty_since` is when something was
    first done to the connection, None while it is as good as its weather.
    """

    def __init__(self, agenda: Agenda, weather: Weather, rng: random.Random) -> None:
        shape = _WeatherShape(weather, rng)
        self.up = Pipe(agenda, shape)
        self.down = Pipe(agenda, shape)
        self.dialing_end = NetworkStream(self.up, self.down)
        self.serving_end = NetworkStream(self.down, self.up)
        self.faulty_since: float | None = None

    def reset(self) -> None:
        """Cut: both sides get an error at once, and what is on its way is lost."""
        self._note_fault()
        self.up.break_off()
        self.down.break_off()

    def finish(self) -> None:
        """Cut, more politely: both sides read EOF after what is on its way."""
        self._note_fault()
        self.up.end()
        self.down.end()

    def black_hole(self, *, up: bool = True, down: bool = True) -> None:
        """Nothing arrives any more, in one direction or both, without an error."""
        self._note_fault()
        if up:
            self.up.swallow()
        if down:
            self.down.swallow()

    def garble(self, data: bytes) -> None:
        """Let bytes arrive at the dialing side that the serving side has not sent."""
        self._note_fault()
        self.down.inject(data)

    def _note_fault(self) -> None:
        if self.faulty_since is None:
            self.faulty_since = trio.current_time()


Serve: TypeAlias = Callable[[Connection], Awaitable[None]]


class SimulatedDialer:
    """A `Dialer`: each dial makes a `Connection` whose other end `serve` is given, in `nursery`.

    `forecast()` is asked for the weather of each connection. `is_up = False` makes dials fail,
    `is_silent = True` makes them hang; `connections` are all that came to be, in order.
    """

    def __init__(
        self,
        serve: Serve,
        nursery: trio.Nursery,
        agenda: Agenda,
        rng: random.Random,
        forecast: Callable[[], Weather] = Weather,
    ) -> None:
        self._serve = serve
        self._nursery = nursery
        self._agenda = agenda
        self._rng = rng
        self._forecast = forecast
        self.connections: list[Connection] = []
        self.is_up = True
        self.is_silent = False

    async def dial(self, host: str, port: int) -> trio.abc.Stream:
        """Connect; raises `ConnectError` while the network is down."""
        weather = self._forecast()
        await trio.sleep(weather.delay_seconds)
        if self.is_silent:
            await trio.sleep_forever()
        if not self.is_up:
            raise ConnectError(f"cannot connect to {host}:{port}: the simulated network is down")
        connection = Connection(self._agenda, weather, self._rng)
        self.connections.append(connection)
        self._nursery.start_soon(self._serve, connection)
        return connection.dialing_end


StreamHandler = Callable[[trio.abc.Stream], Awaitable[None]]


class MemoryDialer:
    """A `Dialer` whose every connection is served by `handler`, as a task of `nursery`.

    `dialed` lists what was dialed, as (time, host, port). `failures` are raised by the next dials,
    one each; `is_up = False` makes every dial fail, and `is_silent = True` makes it hang.
    """

    def __init__(self, handler: StreamHandler, nursery: trio.Nursery) -> None:
        self._handler = handler
        self._nursery = nursery
        self.dialed: list[tuple[float, str, int]] = []
        self.failures: deque[Exception] = deque()
        self.is_up = True
        self.is_silent = False

    async def dial(self, host: str, port: int) -> trio.abc.Stream:
        """Connect to the handler; raises `ConnectError` as scripted."""
        await trio.lowlevel.checkpoint()
        self.dialed.append((trio.current_time(), host, port))
        if self.failures:
            raise self.failures.popleft()
        if self.is_silent:
            await trio.sleep_forever()
        if not self.is_up:
            raise ConnectError(f"cannot connect to {host}:{port}: the simulated network is down")
        ours, theirs = trio.testing.memory_stream_pair()
        self._nursery.start_soon(self._serve, theirs)
        return ours

    async def _serve(self, stream: trio.abc.Stream) -> None:
        try:
            await self._handler(stream)
        except trio.BrokenResourceError:
            # The dialing side went away without reading: a fact of networks, not a failed test.
            pass
        finally:
            with trio.move_on_after(1, shield=True):
                await trio.aclose_forcefully(stream)
