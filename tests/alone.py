"""A test that fails, fails alone."""

from __future__ import annotations

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
