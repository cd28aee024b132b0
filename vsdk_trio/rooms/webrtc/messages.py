"""Messages of a WebRTC room: the signaling's, and those from the asyncio thread. Pure.

The agent sends `{"sdp": ..., "type": "offer"}`. The other side answers with an `answer` of the same
form, and perhaps with `{"candidate": ...}` later. Everything else is ignored. This is the published
client's signaling.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeAlias

import attrs


@attrs.frozen(kw_only=True)
class Answer:
    """The other side's description."""

    sdp: str = attrs.field(repr=False)
    kind: str


@attrs.frozen(kw_only=True)
class Candidate:
    """One more way to reach the other side."""

    text: str
    mid: str | None
    line: int | None


Signal: TypeAlias = Answer | Candidate | None


def read_signal(text: str | bytes) -> Signal:
    """What a message says; None for what is neither answer nor candidate."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    sdp, kind = value.get("sdp"), value.get("type")
    if isinstance(sdp, str) and kind in ("answer", "pranswer"):
        return Answer(sdp=sdp, kind=kind)
    return _candidate(value)


def _candidate(value: Mapping[str, Any]) -> Candidate | None:
    found = value.get("candidate")
    if isinstance(found, Mapping):  # as a browser's toJSON() has it
        value, found = found, found.get("candidate")
    if not isinstance(found, str) or not found:
        return None
    mid, line = value.get("sdpMid"), value.get("sdpMLineIndex")
    return Candidate(
        text=found,
        mid=mid if isinstance(mid, str) else None,
        line=line if type(line) is int else None,
    )


PEER_ID = "webrtc_peer"
"""The published client's id for the participant that answers."""


@attrs.frozen
class ConnectionState:
    """The connection is new, connecting, connected, disconnected, failed or closed."""

    name: str


@attrs.frozen
class TextReceived:
    """A text came on the data channel."""

    text: str


PeerMessage: TypeAlias = ConnectionState | TextReceived
