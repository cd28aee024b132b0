"""Tests against the published client; only where it is installed, in an environment of its own."""

from __future__ import annotations

import importlib.util

collect_ignore_glob = []
if importlib.util.find_spec("videosdk") is None:
    collect_ignore_glob.append("test_*.py")
