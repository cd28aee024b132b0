"""Which error means which shortage, and how often each is told."""

from __future__ import annotations

import errno
import logging
import os

import pytest

from vsdk_trio.errors import Resource, ShortageError, VsdkTrioError
from vsdk_trio.system import shortages as _shortages
from vsdk_trio.system.cpu_quota import CpuQuota, count_processors
from vsdk_trio.system.shortages import QUIET_SECONDS, Shortages, resource_of, shortage_among


def os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    ("error", "resource"),
    [
        (RuntimeError("can't start new thread"), Resource.THREADS),
        (RuntimeError("anything else"), None),
        (os_error(errno.EMFILE), Resource.DESCRIPTORS),
        (os_error(errno.ENFILE), Resource.DESCRIPTORS),
        (os_error(errno.ENOMEM), Resource.MEMORY),
        (os_error(errno.ENOBUFS), Resource.MEMORY),
        (os_error(errno.ENOSPC), Resource.DISK),
        (os_error(errno.EDQUOT), Resource.DISK),
        (os_error(errno.EAGAIN), None),
        (os_error(errno.ENOENT), None),
        (MemoryError(), Resource.MEMORY),
        (ImportError("libx.so: cannot open: Too many open files"), Resource.DESCRIPTORS),
        (ImportError("no module x"), None),
        (ShortageError(Resource.DISK, "x"), Resource.DISK),
        (KeyError("x"), None),
    ],
)
def test_what_an_error_means(error: BaseException, resource: Resource | None) -> None:
    assert resource_of(error) is resource


def test_a_process_that_cannot_be_started_now() -> None:
    assert resource_of(os_error(errno.EAGAIN), is_starting=True) is Resource.PROCESSES


def test_a_shortage_behind_other_errors_is_found() -> None:
    group = ExceptionGroup("all failed", [os_error(errno.ECONNREFUSED), os_error(errno.EMFILE)])
    outer = OSError("all attempts failed")
    outer.__cause__ = group
    found = shortage_among(outer, "connect")
    assert found is not None
    assert str(found).startswith("out of file descriptors: cannot connect (Too many open files)")
    assert isinstance(found, VsdkTrioError)
    assert shortage_among(ExceptionGroup("x", [os_error(errno.EPIPE)]), "connect") is None


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(_shortages.time, "monotonic", lambda: now[0])
    return now


def test_what_keeps_failing_is_told_by_name_in_few_lines(
    clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    short = Shortages()
    with caplog.at_level(logging.WARNING):
        for _ in range(150):
            short.note(Resource.THREADS, "start a job process", "can't start new thread")
            clock[0] += 1
        assert len(caplog.records) == 3
        assert "out of threads: cannot start a job process" in caplog.text
        (line,) = short.current()
        assert "(150 times, last 1 s ago)" in line
        short.over(Resource.THREADS)
        short.over(Resource.THREADS)
        assert len(caplog.records) == 4
        assert "threads can be had again (150 failures)" in caplog.text
    assert short.current() == []


def test_one_that_comes_and_goes_does_not_fill_the_log(
    clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    short = Shortages()
    with caplog.at_level(logging.WARNING):
        for _ in range(100):
            short.note(Resource.DESCRIPTORS, "accept", "too many")
            short.over(Resource.DESCRIPTORS)
    assert len(caplog.records) == 2


def test_one_that_is_long_ago_is_not_there(clock: list[float]) -> None:
    short = Shortages()
    short.note(Resource.DISK, "write", "full")
    clock[0] += QUIET_SECONDS
    assert short.current() == []


@pytest.mark.parametrize(
    ("affinity", "quota", "processors"),
    [(64, 2.0, 2), (64, 0.5, 1), (64, 1.5, 2), (2, 16.0, 2), (3, None, 3)],
)
def test_processors_are_those_of_the_container(
    monkeypatch: pytest.MonkeyPatch, affinity: int, quota: float | None, processors: int
) -> None:
    limit = quota and CpuQuota(cpus=quota, usage=os.devnull, key="", units_per_second=1)  # type: ignore[arg-type]  # not read
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(affinity)), raising=False)
    monkeypatch.setattr("vsdk_trio.system.cpu_quota.find_cpu_quota", lambda: limit)
    assert count_processors() == processors


def test_processors_are_counted_in_one_place() -> None:
    import vsdk_trio

    package = os.path.dirname(vsdk_trio.__file__)
    users = set()
    for directory, _, names in os.walk(package):
        for name in names:
            if name.endswith(".py"):
                with open(os.path.join(directory, name), encoding="utf-8") as file:
                    text = file.read()
                if "cpu_count(" in text or "sched_getaffinity" in text:
                    users.add(os.path.relpath(os.path.join(directory, name), package))
    # `load` measures the processors that it may run on, each by its number.
    assert users == {"system/cpu_quota.py", "load.py"}
