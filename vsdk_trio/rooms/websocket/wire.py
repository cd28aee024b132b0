"""Messages on the room's WebSocket: those of the published client, and a few more.

Binary frames are sound, s16le: 48000 Hz mono from the client unless its `hello` says otherwise,
24000 Hz mono to it. Text frames are JSON objects with a `type`. The published client sends
`interrupt` and ignores all text; the rest is sent only to a client that has said `hello`. Knows
bytes and text. Must not know connections.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeAlias

import attrs

from ..audio import AudioFormat
from ..events import Message

CLIENT_FORMAT = AudioFormat(48000)
AGENT_FORMAT = AudioFormat(24000)
MOST_BYTES = 1 << 16
"""Of one frame from the client: 0.7 s of its sound."""


@attrs.frozen(kw_only=True)
class ClientHello:
    """The client names its audio format, and reads text messages."""

    format: AudioFormat = CLIENT_FORMAT


@attrs.frozen(kw_only=True)
class Say:
    """The client publishes a message."""

    topic: str
    text: str


@attrs.frozen
class Mute:
    """The client's microphone is off until its next sound."""


@attrs.frozen
class IgnoredText:
    """A message of a later version or another program."""


FromClient: TypeAlias = ClientHello | Say | Mute | IgnoredText


class JunkError(ValueError):
    """A text frame that makes no sense; its text says why."""


def read_text(text: str) -> FromClient:
    """What a text frame says. Raises `JunkError` for a known type with wrong fields, or no JSON."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise JunkError("no JSON") from None
    if not isinstance(value, dict):
        raise JunkError("no JSON object")
    match value.get("type"):
        case "hello":
            return _hello(value)
        case "message":
            return Say(topic=_text(value, "topic", "chat"), text=_text(value, "text", None))
        case "mute":
            return Mute()
        case _:
            return IgnoredText()


def _hello(value: Mapping[str, Any]) -> ClientHello:
    rate, channels = value.get("sample_rate", 48000), value.get("channels", 1)
    if type(rate) is not int or type(channels) is not int:
        raise JunkError("sample_rate and channels must be integers")
    try:
        spoken = AudioFormat(rate, channels)
    except ValueError:
        raise JunkError(
            f"sample_rate must be between 1000 and 384000 and channels 1 or 2, got {rate} and "
            f"{channels}"
        ) from None
    return ClientHello(format=spoken)


def _text(value: Mapping[str, Any], key: str, default: str | None) -> str:
    text = value.get(key, default)
    if not isinstance(text, str):
        raise JunkError(f"{key} must be a string")
    return text


INTERRUPT = json.dumps({"type": "interrupt"})
"""Drop what has come and is not yet heard."""


def welcome(room_id: str, participant_id: str, name: str) -> str:
    """The answer to `hello`: where the client is, with whom, and what it will hear."""
    return json.dumps(
        {
            "type": "welcome",
            "room_id": room_id,
            "participant_id": participant_id,
            "name": name,
            "sample_rate": AGENT_FORMAT.sample_rate,
            "channels": AGENT_FORMAT.channels,
        }
    )


def message(sent: Message) -> str:
    """Something that the agent publishes."""
    return json.dumps(
        {
            "type": "message",
            "topic": sent.topic,
            "text": sent.text,
            "sender_id": sent.sender_id,
            "sender_name": sent.sender_name,
        }
    )


def metadata(text: str) -> str:
    """What the agent says of itself."""
    return json.dumps({"type": "metadata", "metadata": text})


def problem(text: str) -> str:
    """What the client has sent makes no sense."""
    return json.dumps({"type": "error", "error": text})
