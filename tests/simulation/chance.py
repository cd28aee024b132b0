"""Makes a whole Trio run depend on one seed: the scheduler's order, and every clock and dice.

Knows which modules look at the machine's own clock or randomness; nothing of what is simulated.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any, TypeVar
from unittest.mock import patch

import trio
import wsproto.frame_protocol
import wsproto.utilities
from trio._core import _run as scheduler
from trio.testing import MockClock

from vsdk_trio.backend import session_loop
from vsdk_trio.runner import runner

T = TypeVar("T")

SIMULATED_PID = 4242


class _NoSteps:
    """Stands in for the watch on the real time that each step of a job's loop takes."""

    def take_ms(self) -> float:
        return 0.0


@contextmanager
def _determined_by(seed: object) -> Iterator[None]:
    dice = random.Random(f"{seed} of everybody")
    state = random.getstate()
    fake_os = SimpleNamespace(urandom=dice.randbytes, getpid=lambda: SIMULATED_PID)
    fake_time = SimpleNamespace(time=trio.current_time, perf_counter=trio.current_time)
    replaced: list[tuple[Any, str, Any]] = [
        (scheduler, "_ALLOW_DETERMINISTIC_SCHEDULING", True),
        (scheduler, "_r", random.Random(f"{seed} of the scheduler")),
        (wsproto.frame_protocol, "os", fake_os),
        (wsproto.utilities, "os", fake_os),
        (session_loop, "time", fake_time),
        (runner, "time", fake_time),
        (runner, "os", fake_os),
        (runner, "LongestStep", _NoSteps),
        (runner, "memory_mb", lambda: None),
    ]
    random.seed(f"{seed} of the libraries")
    try:
        with ExitStack() as stack:
            for owner, name, value in replaced:
                stack.enter_context(patch.object(owner, name, value))
            yield
    finally:
        random.setstate(state)


def run_determined(seed: object, main: Callable[[], Awaitable[T]]) -> T:
    """Run `main` on a clock that jumps; twice with the same seed, it does the same twice."""
    with _determined_by(seed):
        return trio.run(main, clock=MockClock(autojump_threshold=0))
