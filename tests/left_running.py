"""What tests leave running fails the session, and is ended.

A program that a test starts inherits the session's mark, and pytest's own note of the test that
ran. Only one that was given an environment without them is not found.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Generator
from contextlib import suppress

import psutil
import pytest

MARK = "MARK_OF_TEST_SESSION"
# For what is ending when the last test is: a process with a browser's files to close, for example.
GRACE_SECONDS = 10.0


class LeftRunning:
    """A plugin for the process that pytest was started as; xdist's workers inherit its mark."""

    def __init__(self, *, grace_seconds: float = GRACE_SECONDS) -> None:
        self._grace_seconds = grace_seconds
        self._mark = secrets.token_hex(8)
        os.environ[MARK] = self._mark

    @pytest.hookimpl(wrapper=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None]:
        yield
        if left := self._left_after_grace():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
            print("\nERROR: the tests have ended, and these processes of theirs had not:")
            for process, said in left:
                print(f"  {said}")
                with suppress(psutil.Error):
                    process.kill()

    def _left_after_grace(self) -> list[tuple[psutil.Process, str]]:
        end = time.monotonic() + self._grace_seconds
        while (left := self._left()) and time.monotonic() < end:
            time.sleep(0.1)
        return left

    def _left(self) -> list[tuple[psutil.Process, str]]:
        left = []
        for process in psutil.process_iter():
            # It has gone meanwhile, or is somebody else's.
            with suppress(psutil.Error, OSError):
                environ = process.environ()
                if environ.get(MARK) == self._mark and process.status() != psutil.STATUS_ZOMBIE:
                    test = environ.get("PYTEST_CURRENT_TEST", "no test")
                    left.append((process, f"{process.pid}, from {test}: {process.cmdline()}"))
        return left
