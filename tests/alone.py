"""A test that fails, or forgets something, fails alone.

What one test leaves in the process would fail another one, and in another order none. So the test
that leaves it fails, and the next one has a clean process.
"""

from __future__ import annotations

import signal
from collections.abc import Generator, Iterator
from contextlib import suppress
from types import GeneratorType, TracebackType

import psutil
import pytest
import trio


class StoppedRuns:
    """Ends the Trio run of a test that its time limit has stopped, and what it has started.

    The limit's error comes by a signal. Where it hits Trio while that waits for the system, nothing
    ends the run, and each later `trio.run` is taken for one inside it.
    """

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self) -> Generator[None]:
        try:
            yield
        except BaseException as error:
            if trio.lowlevel.in_trio_run():
                for run in _runs(error.__traceback__):
                    with suppress(Exception):  # its tasks do not end in order
                        run.close()
                _end_children()
            raise


def _runs(traceback: TracebackType | None) -> Iterator[GeneratorType[object]]:
    while traceback is not None:
        frame = traceback.tb_frame
        if frame.f_globals.get("__name__") == "trio._core._run":
            yield from (v for v in frame.f_locals.values() if isinstance(v, GeneratorType))
        traceback = traceback.tb_next


def _end_children() -> None:
    children = psutil.Process().children(recursive=True)
    for child in children:
        with suppress(psutil.Error):
            child.kill()
    psutil.wait_procs(children, timeout=5)


@pytest.fixture(autouse=True)
def signals_as_they_were() -> Iterator[None]:
    """What a signal does, and which are blocked, is the whole process'."""
    before = _signals()
    yield
    after = _signals()
    if after != before:
        for signum, (handler, _) in before.items():
            if handler != after[signum][0]:
                signal.signal(signum, handler)
        blocked = {signum for signum, (_, is_blocked) in before.items() if is_blocked}
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        changed = {k.name: (v, after[k]) for k, v in before.items() if v != after[k]}
        pytest.fail(f"signals are not as they were (handler, is blocked): {changed}")


def _signals() -> dict[signal.Signals, tuple[object, bool]]:
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    kept = set(signal.Signals) - {signal.SIGALRM}  # pytest's own time limit, off once a test fails
    return {signum: (signal.getsignal(signum), signum in blocked) for signum in kept}
