"""Fakes that ship with the project: a simulated network and a scriptable registry.

For tests of programs that use vsdk_trio, and for its own.
"""

from __future__ import annotations

from .fake_registry import FakeRegistry, FakeSession, Rejection, open_fake_registry
from .memory import MemoryDialer

__all__ = ["FakeRegistry", "FakeSession", "MemoryDialer", "Rejection", "open_fake_registry"]
