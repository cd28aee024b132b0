"""Fixtures for the tests of the backend: a simulated network whose peer is a function."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vsdk_trio.testing.memory import MemoryDialer, StreamHandler

MakeDialer = Callable[[StreamHandler], MemoryDialer]


@pytest.fixture
def dialer_to(nursery) -> MakeDialer:
    """Make a dialer whose every connection is served by the given function."""
    return lambda handler: MemoryDialer(handler, nursery)
