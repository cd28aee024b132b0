"""Ready-made gauges for `Options.load_fnc`. A leaf."""

from __future__ import annotations

import time


class CpuLoad:
    """A ready-made `load_fnc`: the share of all CPUs in use, from 0 to 1, over the last window.

    Arguments: `window`, seconds over which the share is measured; asked more often than that, it
    repeats its last answer, so that a burst of offers does not measure its own noise.
    """

    def __init__(self, *, window: float = 1.0) -> None:
        import psutil  # only a program that measures the CPU pays for it

        self._cpu_percent = psutil.cpu_percent
        self._window = window
        self._measured_at = time.monotonic()
        self._share = 0.0
        self._cpu_percent(None)  # the first call only sets the starting point

    def __call__(self) -> float:
        now = time.monotonic()
        if now - self._measured_at >= self._window:
            self._share = self._cpu_percent(None) / 100
            self._measured_at = now
        return self._share
