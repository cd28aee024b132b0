"""What holds for every test, wherever and however the suite is started."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from vsdk_trio._masking import MASKER
from vsdk_trio.system.shortages import SHORTAGES
from vsdk_trio.telemetry.logs import loggers as _loggers

from .alone import StoppedRuns, signals_as_they_were
from .left_running import LeftRunning
from .start_methods import START_METHODS, VARIABLE

# A busy machine is no bug.
settings.register_profile("vsdk_trio", deadline=None)
settings.load_profile("vsdk_trio")

# What the caller's shell, proxy, service manager or own agent has set is not for the tests: every
# program that they start would inherit it.
_NOT_OURS = (
    *("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "NOTIFY_SOCKET", "WATCHDOG_USEC"),
    *("PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
)
for name in list(os.environ):
    if name.startswith(("VIDEOSDK_", "VSDK_TRIO_")) or name.upper() in _NOT_OURS:
        del os.environ[name]

# What starts the suite may have signals ignored or blocked: SIGINT a shell that runs it in the
# background, SIGHUP `nohup`, SIGCHLD a supervisor. Every program of the tests would inherit that.
# SIGPIPE and SIGXFSZ are ignored by Python itself.
for signum in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:
    if signal.getsignal(signum) is signal.SIG_IGN:
        is_int = signum == signal.SIGINT
        signal.signal(signum, signal.default_int_handler if is_int else signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_SETMASK, ())


@pytest.fixture(autouse=True)
def _no_log_of_another_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log that a test sets up is the whole process'; it must not outlive that test."""
    monkeypatch.setattr(_loggers, "_way_out", None)


@pytest.fixture(autouse=True)
def secrets_of_this_test() -> Iterator[None]:
    """What a test makes known as a secret is an ordinary word in the next one."""
    with MASKER.for_a_while():
        yield


@pytest.fixture(autouse=True)
def _no_shortage_of_another_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test made this process short of is there again in the next one, without a word."""
    monkeypatch.setattr(SHORTAGES, "_kinds", {})


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory with room for a socket's name in it: a whole path may have about 100 bytes."""
    with tempfile.TemporaryDirectory(prefix="test-", dir="/tmp") as path:
        yield Path(path)


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that the test starts are not measured for coverage.

    A measured one runs coverage's code before its own first line and after its last; a signal that
    comes then does what it does to coverage.
    """
    for name in [name for name in os.environ if name.startswith("COVERAGE_PROCESS")]:
        monkeypatch.delenv(name)


@pytest.fixture(params=START_METHODS)
def each_start_method(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test runs once for each way in which job processes come to be."""
    monkeypatch.setenv(VARIABLE, request.param)


__all__ = ["signals_as_they_were"]  # a fixture, for every test


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(StoppedRuns())
    if not hasattr(config, "workerinput"):  # xdist's workers are looked after by what started them
        config.pluginmanager.register(LeftRunning())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In CI, a test with real processes, sockets and time gets a second try; it is shown as such.

    CI's machine is shared, and may stand still for longer than a test waits. A simulated test gets
    no second try.
    """
    if os.environ.get("CI"):
        for item in items:
            if item.get_closest_marker("real") is not None:
                item.add_marker(pytest.mark.flaky(reruns=1))
