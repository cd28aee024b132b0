"""The benchmarks, a few of each; only where what they need is installed: the extra `bench`."""

from __future__ import annotations

import importlib.util

collect_ignore_glob = []
if not all(map(importlib.util.find_spec, ("matplotlib", "pytest_benchmark"))):
    collect_ignore_glob.append("test_*.py")
