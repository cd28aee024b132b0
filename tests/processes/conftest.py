"""Fixtures of the tests of job processes: commands for the child program, and a look around."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from vsdk_trio.processes.edge import Command

CHILD = Path(__file__).with_name("child_program.py")


@pytest.fixture
def child() -> Callable[..., Command]:
    """Builds a `Command` for the child program with the given modes."""

    def build(*modes: str, **env_extra: str) -> Command:
        return Command(
            argv=(sys.executable, "-I", "-S", str(CHILD), *modes),
            cookie=f"test-{secrets.token_hex(8)}",
            env_extra=env_extra,
        )

    return build


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """After the test there is no child process, zombie or open fd that was not there before."""
    before = _open_fds()
    yield
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
    assert _open_fds() <= before


def _open_fds() -> set[str]:
    fds = set()
    for fd in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the directory's own
            fds.add(f"{fd} {os.readlink(f'/proc/self/fd/{fd}')}")
    return fds
