"""A room of the VideoSDK service, by its own SDK (the extra `videosdk`).

The SDK is asyncio and blocks in places, so it runs in a thread of its own: `transport` is Trio's
side, `call` and `voice` the SDK's. Light until a room is opened: importing the SDK takes seconds.
"""

from __future__ import annotations

from .sdk import preload
from .transport import VideoSDKTransport, open_videosdk, require_videosdk

__all__ = ["VideoSDKTransport", "open_videosdk", "preload", "require_videosdk"]
