"""What a process shows of itself to others, and what it may not."""

from __future__ import annotations

import subprocess
import sys

import pytest

from vsdk_trio import before_fork
from vsdk_trio.forkserver.before_fork import runs_before_fork
from vsdk_trio.forkserver.program.environment_marker import find_command_line, find_variable

pytestmark = pytest.mark.real

SHOWS_ANOTHER = """
import sys
from vsdk_trio.forkserver.program.environment_marker import find_command_line, find_variable
area = find_variable("COOKIE")
area.write(b"new")
find_command_line().write(b"another\\0name")
print(open("/proc/self/environ", "rb").read().split(b"\\0"))
print(open("/proc/self/cmdline", "rb").read().rstrip(b"\\0"))
try:
    area.write(b"x" * 11)
except ValueError as error:
    print(error)
"""


def test_another_text_is_shown_in_its_place() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SHOWS_ANOTHER],
        env={"BEFORE": "1", "COOKIE": "0123456789", "COOKIE_JAR": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    environ, cmdline, refused = done.stdout.splitlines()
    shown = {entry for entry in eval(environ) if entry}
    assert {b"BEFORE=1", b"COOKIE=new", b"COOKIE_JAR=2"} <= shown
    assert eval(cmdline) == b"another\0name"
    assert refused == "11 bytes do not fit into 10"


def test_what_is_not_shown_cannot_be_replaced() -> None:
    with pytest.raises(LookupError, match="does not show NO_SUCH_VARIABLE"):
        find_variable("NO_SUCH_VARIABLE")
    assert find_command_line().size > 0


def test_only_a_plain_function_runs_before_the_fork() -> None:
    @before_fork
    def plain(process: object) -> None: ...

    async def asynchronous(process: object) -> None: ...

    assert runs_before_fork(plain)
    assert not runs_before_fork(asynchronous)
    with pytest.raises(TypeError, match="no event loop to run it in"):
        before_fork(asynchronous)
