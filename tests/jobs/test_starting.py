"""Which failures to start pass, and what a row of them means."""

from __future__ import annotations

import errno

import pytest

from vsdk_trio.errors import JobProcessError, Resource, ShortageError
from vsdk_trio.jobs.starting import (
    Starts,
    exit_passes,
    initializing_passes,
    loading_passes,
    start_passes,
)

FOR_GOOD = JobProcessError("no module 'x'\n  at line 1")
PASSES = JobProcessError("out of memory", passes=True)


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (OSError(errno.EAGAIN, "Resource temporarily unavailable"), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (OSError(errno.EMFILE, "Too many open files"), True),
        (ShortageError(Resource.THREADS, "out of threads"), True),
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), False),
        (PermissionError(errno.EACCES, "Permission denied"), False),
        (OSError(errno.ENOEXEC, "Exec format error"), False),
        (OSError(errno.E2BIG, "Argument list too long"), False),
    ],
)
def test_what_the_system_says_to_a_start(error: OSError, passes: bool) -> None:
    assert start_passes(error) is passes


@pytest.mark.parametrize(
    ("error", "loading", "initializing"),
    [
        (MemoryError(), True, True),
        (RuntimeError("can't start new thread"), True, True),
        (OSError(errno.EMFILE, "Too many open files"), True, True),
        (ImportError("libx.so: cannot open shared object file: Too many open files"), True, True),
        (ConnectionRefusedError(), True, True),
        (TimeoutError(), True, True),
        (ExceptionGroup("two", [MemoryError(), TimeoutError()]), True, True),
        # What another machine says may be otherwise the next time; what the code says, not.
        (RuntimeError("no licence is free"), False, True),
        (SystemExit(1), False, True),
        (ModuleNotFoundError("No module named 'x'"), False, False),
        (SyntaxError("invalid syntax"), False, False),
        (NameError("name 'x' is not defined"), False, False),
        (ExceptionGroup("two", [MemoryError(), ImportError("x")]), False, True),
    ],
)
def test_what_the_code_raises(error: BaseException, loading: bool, initializing: bool) -> None:
    assert (loading_passes(error), initializing_passes(error)) == (loading, initializing)


@pytest.mark.parametrize(
    ("returncode", "last_words", "passes"),
    [
        (-9, (), True),  # the kernel's, where memory is short
        (-15, (), True),
        (-11, (), False),
        (0, (), False),
        (3, ("no tracer here",), False),
        (1, ("Traceback ...", "MemoryError"), True),
        (1, ("RuntimeError: can't start new thread",), True),
        (1, ("OSError: [Errno 24] Too many open files", "ImportError: x"), False),
    ],
)
def test_how_a_process_ends_that_was_not_ready(
    returncode: int, last_words: tuple[str, ...], passes: bool
) -> None:
    assert exit_passes(returncode, last_words) is passes


def test_nothing_is_known_at_first_and_nothing_is_asked() -> None:
    starts = Starts()
    assert (starts.is_proven, starts.trouble, starts.wants_probe, starts.hopeless) == (
        False,
        None,
        False,
        None,
    )


def test_a_doubt_lasts_until_a_process_comes_up() -> None:
    starts = Starts()
    starts.doubt()
    assert starts.trouble == "no job process has come up yet"
    starts.failed(PASSES)
    assert starts.trouble == "no job process comes up: out of memory"
    assert starts.wants_probe
    assert starts.hopeless is None
    starts.succeeded()
    assert (starts.trouble, starts.wants_probe, starts.is_proven) == (None, False, True)
    starts.doubt()
    assert starts.trouble is None


def test_without_any_success_a_failure_for_good_is_the_end() -> None:
    starts = Starts()
    starts.doubt()
    starts.failed(PASSES)
    starts.failed(FOR_GOOD)
    assert starts.hopeless is FOR_GOOD
    assert starts.trouble == "no job process comes up: no module 'x' at line 1"


def test_later_on_nothing_is_the_end() -> None:
    starts = Starts()
    starts.succeeded()
    starts.failed(FOR_GOOD)
    assert starts.hopeless is None
    assert starts.wants_probe
    starts.succeeded()
    assert starts.trouble is None


def test_a_shortage_is_trouble_only_when_it_comes_twice_in_a_row() -> None:
    starts = Starts()
    starts.succeeded()
    starts.failed(PASSES)
    assert starts.trouble is None
    starts.succeeded()
    starts.failed(PASSES)
    assert starts.trouble is None
    starts.failed(PASSES)
    assert starts.trouble == "no job process comes up: out of memory"
