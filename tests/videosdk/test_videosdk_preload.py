"""The SDK in memory before it is needed: in idle processes, and before a fork."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("vsaiortc", reason="needs the extra `videosdk`: tox -e videosdk")

pytestmark = [pytest.mark.real, pytest.mark.slow]

THREADS = """
import gc, os, sys, threading
from vsdk_trio.rooms.hosted import preload
assert "videosdk" not in sys.modules
preload()
assert "videosdk" in sys.modules
frozen = gc.get_freeze_count()
assert frozen > 10_000
preload()
assert gc.get_freeze_count() <= frozen
assert threading.active_count() == 1
assert not os.path.exists("/proc/self/task") or len(os.listdir("/proc/self/task")) == 1
"""
LIGHT = """
import sys
import vsdk_trio.rooms.hosted, vsdk_trio.testing
heavy = {"videosdk", "vsaiortc", "av", "requests", "websockets"} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.mark.parametrize("program", [THREADS, LIGHT])
def test_importing(program: str) -> None:
    """It starts no thread, so that a fork may follow; and until it is needed, it is not done."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
