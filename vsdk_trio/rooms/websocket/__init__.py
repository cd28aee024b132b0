"""A room that is a WebSocket: the job serves it, a page or a program connects, both are heard.

Loaded when it is used: it needs trio-websocket, which no other job should have to load.
"""

from __future__ import annotations

from .transport import WebSocketTransport, open_websocket

__all__ = ["WebSocketTransport", "open_websocket"]
