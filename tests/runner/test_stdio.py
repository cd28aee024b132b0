"""Claiming stdin and stdout, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.real

PROGRAM = """
import os, sys
print("before, still buffered", end="")
from vsdk_trio.runner.stdio import claim
receive, send = claim()
print("printed")
os.write(send, b"|" + os.read(receive, 100))
assert sys.stdin.read() == ""
assert not os.get_inheritable(receive) and not os.get_inheritable(send)
sys.stdout.flush()
sys.stdout.write("line by line\\n")
os._exit(0)
"""


def test_the_channel_is_private_and_prints_go_to_stderr() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], input=b"frame", capture_output=True, check=True
    )
    assert ran.stdout == b"before, still buffered\n|frame"
    assert ran.stderr == b"printed\nline by line\n"


def test_something_else_in_place_of_stdout_is_left_alone() -> None:
    program = "import io, sys; sys.stdout = io.StringIO()\n" + PROGRAM.replace(
        'print("before, still buffered", end="")', ""
    ).replace("os._exit(0)", "")
    ran = subprocess.run(
        [sys.executable, "-c", program], input=b"frame", capture_output=True, check=True
    )
    assert (ran.stdout, ran.stderr) == (b"\n|frame", b"")


def test_importing_the_program_does_nothing() -> None:
    program = "import vsdk_trio.runner.__main__; print('still stdout')"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert (ran.stdout, ran.stderr) == (b"still stdout\n", b"")
