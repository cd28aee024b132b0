"""Ready-made gauges for `Options.load_fnc`. A leaf."""

from __future__ import annotations

import os
import time

from .system.cpu_quota import CpuQuota, find_cpu_quota


class CpuLoad:
    """A ready-made `load_fnc`: the share of the CPU in use, from 0 to 1, over the last window.

    It is the share of the CPUs that this process may run on, of all processes; in a container with
    a limit on its CPU time, the share of that limit, if it is higher. So a pod of half a CPU is at
    1 when that half is used up, however many CPUs its machine has.

    Arguments: `window`, seconds over which the share is measured; asked more often than that, it
    repeats its last answer, so that a burst of offers does not measure its own noise. Asked less
    often, it is the share since it was asked last.
    """

    def __init__(self, *, window: float = 1.0) -> None:
        import psutil  # only a program that measures the CPU pays for it

        self._cpu_percent = psutil.cpu_percent
        self._window = window
        self._quota = find_cpu_quota()
        self._used = 0.0 if self._quota is None else self._quota.used_seconds()
        self._measured_at = time.monotonic()
        self._share = 0.0
        self._cpu_percent(None, percpu=True)  # the first call only sets the starting point

    def __call__(self) -> float:
        now = time.monotonic()
        if now - self._measured_at >= self._window:
            shares = [self._share_of_cpus()]
            if self._quota is not None:
                shares.append(self._share_of_quota(self._quota, now - self._measured_at))
            self._share = min(max(shares), 1.0)
            self._measured_at = now
        return self._share

    def _share_of_cpus(self) -> float:
        percents = self._cpu_percent(None, percpu=True)
        if hasattr(os, "sched_getaffinity"):
            mine = [percents[n] for n in os.sched_getaffinity(0) if n < len(percents)]
            percents = mine or percents
        return sum(percents) / len(percents) / 100

    def _share_of_quota(self, quota: CpuQuota, seconds: float) -> float:
        before, self._used = self._used, quota.used_seconds()
        return (self._used - before) / (seconds * quota.cpus) if seconds > 0 else 0.0
