"""vsdk_trio: VideoSDK agent workers on Trio."""

from __future__ import annotations

__version__ = "0.1.0"
