"""A room of the VideoSDK service, by its own SDK (the extra `videosdk`).

The SDK is asyncio and blocks in places, so it runs in its own thread: `transport` is Trio's side,
`call` the SDK's, and `sdk` knows what the SDK does not document. Importing this package loads no
SDK; opening a room does, and takes seconds.
"""

from __future__ import annotations

from .sdk import preload
from .transport import VideoSDKTransport, open_videosdk, require_videosdk

__all__ = ["VideoSDKTransport", "open_videosdk", "preload", "require_videosdk"]
