"""Fakes that ship with the project: a simulated network, a scriptable registry, a room service.

For tests of programs that use vsdk_trio, and for its own.
"""

from __future__ import annotations

from .fake_registry import FakeRegistry, FakeSession, Rejection, open_fake_registry
from .network import MemoryDialer
from .videosdk import FakeVideoSDK, open_fake_videosdk

__all__ = [
    "FakeRegistry",
    "FakeSession",
    "FakeVideoSDK",
    "MemoryDialer",
    "Rejection",
    "open_fake_registry",
    "open_fake_videosdk",
]
