"""What asyncio's thread tells Trio's. Plain values, so that neither side needs the other's."""

from __future__ import annotations

from typing import TypeAlias

import attrs

PEER_ID = "webrtc_peer"
"""The published client's name for whoever answers."""


@attrs.frozen
class State:
    """The connection is new, connecting, connected, disconnected, failed or closed."""

    name: str


@attrs.frozen
class Said:
    """A text came on the data channel."""

    text: str


News: TypeAlias = State | Said
