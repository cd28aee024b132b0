"""Fakes that ship with the project: a simulated network and a scriptable registry.

For tests of programs that use vsdk_trio, and for its own.
"""

from __future__ import annotations

from vsdk_trio.testing.fake_registry import FakeRegistry, FakeSession, Rejection, open_fake_registry
from vsdk_trio.testing.memory import MemoryDialer

__all__ = ["FakeRegistry", "FakeSession", "MemoryDialer", "Rejection", "open_fake_registry"]
