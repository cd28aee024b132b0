"""A room without a network: scripted participants, and notes of what the agent says.

The script is data from the job's metadata. Its sounds are tones made by arithmetic.
"""

from __future__ import annotations

import math
from array import array
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import attrs
import trio

from .._exceptions import without_own_group
from ..errors import RoomError
from .audio import CHUNK_SECONDS, AudioFormat, AudioFrame, split
from .base import RoomRequest
from .events import MEETING_ENDED, Message, Participant
from .hub import RoomHub
from .joined import JoinedRoom, open_joined_room

_LOUDEST = 32767


def tone(
    frequency: float, seconds: float, *, sample_rate: int = 48000, level: float = 0.3
) -> Iterator[AudioFrame]:
    """A sine of `frequency` Hz, mono, in frames of 20 ms; `level` 1.0 is as loud as it gets."""
    samples = round(seconds * sample_rate)
    step = round(CHUNK_SECONDS * sample_rate)
    for start in range(0, samples, step):
        end = min(start + step, samples)
        phases = (math.tau * frequency * n / sample_rate for n in range(start, end))
        wave = array("h", (round(_LOUDEST * level * math.sin(phase)) for phase in phases))
        yield AudioFrame(data=little_endian(wave), sample_rate=sample_rate, timestamp=start)


def little_endian(wave: array[int]) -> bytes:
    """The bytes of 16-bit samples, as rooms carry them."""
    import sys

    if sys.byteorder == "big":
        wave = array("h", wave)
        wave.byteswap()
    return wave.tobytes()


SCRIPT_KEY = "loopback"
"""The key of a job's metadata under which the loopback room looks for its script."""

_ACTIONS = ("join", "leave", "say", "speak", "echo", "mute", "error", "cut", "end")
_HIGHEST_HZ = 20_000


@attrs.frozen(kw_only=True)
class Step:
    """One event: `after` seconds of waiting, then what a participant does or the room suffers.

    `do` is `join` or `leave` (of `participant`), `say` (`text` on `topic`, by `participant`),
    `speak` (`participant` sounds a tone of `tone` Hz for `seconds`, while the script goes on),
    `echo` (from now on `participant` says what the agent says), `mute` (it stops doing both),
    `error` (`text` to `on_room_error`), `cut` (the room is lost, with `text` as the cause), or
    `end` (of the session, with `text` as the reason).
    """

    do: str
    after: float = 0.0
    participant: str = "guest"
    name: str = "Guest"
    topic: str = "chat"
    text: str = ""
    tone: float = 440.0
    seconds: float = 1.0


DEFAULT_SCRIPT = (Step(do="join"),)
"""One guest, who joins at once and stays."""


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_seconds(value: Any) -> bool:
    return _is_number(value) and bool(value >= 0)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


_CHECKS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "do": (f"one of {', '.join(_ACTIONS)}", lambda value: value in _ACTIONS),
    "after": ("a number of seconds", _is_seconds),
    "participant": ("a string", _is_text),
    "name": ("a string", _is_text),
    "topic": ("a string", _is_text),
    "text": ("a string", _is_text),
    "tone": ("a frequency in Hz", lambda value: _is_number(value) and 0 < value <= _HIGHEST_HZ),
    "seconds": ("a number of seconds", _is_seconds),
}


def read_script(metadata: Mapping[str, Any]) -> tuple[Step, ...]:
    """The script in `metadata["loopback"]`, a list of objects; the default one if there is none.

    Raises `RoomError` with the number of the step that is wrong, and why.
    """
    steps = metadata.get(SCRIPT_KEY)
    if steps is None:
        return DEFAULT_SCRIPT
    if not isinstance(steps, list):
        raise RoomError(f"the loopback script must be a list, got {type(steps).__name__}")
    return tuple(_read_step(number, step) for number, step in enumerate(steps))


def _read_step(number: int, step: Any) -> Step:
    where = f"step {number} of the loopback script"
    if not isinstance(step, dict) or "do" not in step:
        raise RoomError(f"{where} must be an object with a 'do'")
    for key, value in step.items():
        if key not in _CHECKS:
            raise RoomError(f"{where} has an unknown key {key!r}; known: {', '.join(_CHECKS)}")
        wanted, is_right = _CHECKS[key]
        if not is_right(value):
            raise RoomError(f"{where}: {key} must be {wanted}, got {value!r}")
    return Step(**step)


NOTED_FRAMES = 3000
"""How much of what the agent said is kept: a minute."""


@asynccontextmanager
async def open_loopback(
    request: RoomRequest, hub: RoomHub
) -> AsyncGenerator[LoopbackTransport, None]:
    """Join a loopback room, which plays the script in the job's metadata until it is left.

    Raises `RoomError` for a script that cannot be played.
    """
    script = read_script(request.metadata)
    transport = LoopbackTransport(hub)
    with without_own_group():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_play, script, transport)
            nursery.start_soon(transport._talk)
            nursery.start_soon(transport._listen)
            nursery.start_soon(transport._wait_for_cut)
            yield transport
            nursery.cancel_scope.cancel()


def open_loopback_room(
    request: RoomRequest,
) -> AbstractAsyncContextManager[JoinedRoom[LoopbackTransport]]:
    """A loopback room, for those who want to see its other side: `room.transport`."""
    return open_joined_room(open_loopback, request)


async def _play(script: tuple[Step, ...], transport: LoopbackTransport) -> None:
    for step in script:
        await trio.sleep(step.after)
        transport.perform(step)


class LoopbackTransport:
    """See `Transport`; and the other side of it, for scripts and tests.

    `sent` are the agent's messages, `heard` its last minute of sound as far as it was heard, both
    in order; `metadata` is what it last set, `interruptions` how often it was interrupted.
    """

    playback = AudioFormat(24000)

    def __init__(self, hub: RoomHub) -> None:
        self._hub = hub
        self._speech: dict[str, Iterator[AudioFrame]] = {}
        self._echoing: set[str] = set()
        self._positions: dict[str, int] = {}
        self._queued: deque[AudioFrame] = deque()
        self._cut: str | None = None
        self._woken = trio.Event()
        self.sent: deque[Message] = deque(maxlen=NOTED_FRAMES)
        self.heard: deque[AudioFrame] = deque(maxlen=NOTED_FRAMES)
        self.interruptions = 0
        self.metadata = ""

    @property
    def roster(self) -> tuple[str, ...]:
        """The ids that the other participants see: the agent's is missing if it is hidden."""
        request = self._hub.request
        is_seen = not (request.permissions.hidden or self._hub.is_left)
        return (*((request.participant_id,) if is_seen else ()), *self._hub.participants)

    async def send_audio(self, frame: AudioFrame) -> None:
        """See `Transport`."""
        await trio.lowlevel.checkpoint()
        self._queued.append(frame)
        self._wake()

    def interrupt(self) -> None:
        """See `Transport`."""
        self._queued.clear()
        self.interruptions += 1

    async def send_message(self, text: str, topic: str) -> None:
        """See `Transport`; what was sent is in `sent`."""
        await trio.lowlevel.checkpoint()
        request = self._hub.request
        self.sent.append(
            Message(
                topic=topic, text=text, sender_id=request.participant_id, sender_name=request.name
            )
        )

    async def subscribe(self, topic: str) -> None:
        """See `Transport`; everything comes here anyway."""
        await trio.lowlevel.checkpoint()

    async def update_metadata(self, metadata: str) -> None:
        """See `Transport`."""
        await trio.lowlevel.checkpoint()
        self.metadata = metadata

    def perform(self, step: Step) -> None:
        """Let something happen in the room now, as a step of its script does."""
        who, hub = step.participant, self._hub
        match step.do:
            case "join":
                hub.participant_joined(Participant(participant_id=who, name=step.name))
            case "leave":
                self._fall_silent(who)
                hub.participant_left(who)
            case "say":
                name = hub.participants[who].name if who in hub.participants else step.name
                hub.message(
                    Message(topic=step.topic, text=step.text, sender_id=who, sender_name=name)
                )
            case "speak":
                self.speak(who, tone(step.tone, step.seconds))
            case "echo":
                self._echoing.add(who)
                hub.stream_started(who)
            case "mute":
                self._fall_silent(who)
                hub.stream_stopped(who)
            case "error":
                hub.failed(RoomError(step.text))
            case "cut":
                self._cut = step.text or "the loopback room was cut"
                self._wake()
            case _:
                hub.ended(step.text or MEETING_ENDED)

    def speak(self, participant_id: str, frames: Iterable[AudioFrame]) -> None:
        """Have a participant say `frames` (of 20 ms, or more) in place of what it is saying."""
        self._speech[participant_id] = (piece for frame in frames for piece in split(frame))
        self._hub.stream_started(participant_id)
        self._wake()

    def _fall_silent(self, participant_id: str) -> None:
        self._speech.pop(participant_id, None)
        self._echoing.discard(participant_id)

    async def _talk(self) -> None:
        """Send the next frame of each speaker, every 20 ms, while one speaks."""
        while True:
            while not self._speech:
                await self._woken.wait()
            due = trio.current_time()
            while self._speech:
                for who, frames in list(self._speech.items()):
                    frame = next(frames, None)
                    if frame is None:
                        del self._speech[who]
                    else:
                        self._utter(who, frame)
                due += CHUNK_SECONDS
                await trio.sleep_until(due)

    async def _listen(self) -> None:
        """Note what the agent says, at the time when it is heard."""
        while True:
            while not self._queued:
                await self._woken.wait()
            due = trio.current_time()
            while self._queued:
                frame = self._queued.popleft()
                due += frame.seconds
                await trio.sleep_until(due)
                self.heard.append(frame)
                for who in self._echoing:
                    self._utter(who, frame)

    def _utter(self, who: str, frame: AudioFrame) -> None:
        position = self._positions.get(who, 0)
        self._positions[who] = position + frame.samples
        self._hub.audio(attrs.evolve(frame, participant_id=who, timestamp=position))

    async def _wait_for_cut(self) -> None:
        while self._cut is None:
            await self._woken.wait()
        raise RoomError(self._cut)

    def _wake(self) -> None:
        self._woken.set()
        self._woken = trio.Event()
