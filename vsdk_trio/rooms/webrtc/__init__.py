"""A room that is a WebRTC connection to one peer, with the signaling of the published client."""

from __future__ import annotations

from importlib.util import find_spec

from ...errors import RoomError


def require_webrtc() -> None:
    """Raise `RoomError`, with what to install, where aiortc is missing."""
    if find_spec("aiortc") is None:
        # Only now: it reads what pip wrote down, by modules that no job needs.
        from ...options.extras import how_to_install

        raise RoomError(
            f"transport_mode 'webrtc' needs aiortc: {how_to_install('webrtc')}; or "
            "run offline with transport_mode='loopback' (or VSDK_TRIO_TRANSPORT=loopback in the "
            "environment)"
        )
