"""/proc is read in one module, and says of a process what is true of it."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import vsdk_trio
from vsdk_trio.system import proc

linux = pytest.mark.skipif(not proc.HAS_PROC, reason="there is no /proc")

PACKAGE = Path(vsdk_trio.__file__).parent
WRITES_ITS_OWN_MEMORY = "forkserver/program/environment_marker.py"


def _paths(module: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        match node:
            case ast.Constant(value=str(text)) if text.startswith("/proc/") and " " not in text:
                yield text


def test_no_other_module_names_a_file_of_proc() -> None:
    users = {
        module.relative_to(PACKAGE).as_posix(): found
        for module in PACKAGE.rglob("*.py")
        if (found := set(_paths(module)))
    }
    assert users.pop(WRITES_ITS_OWN_MEMORY) == {"/proc/self/mem"}
    assert set(users) == {"system/proc.py"}


@linux
@pytest.mark.real
def test_a_process_is_described() -> None:
    # A name with a parenthesis and a blank must not move the fields behind it.
    code = "open('/proc/self/comm', 'w').write('a) Z 1'); print(flush=True); input()"
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", code],
        env={proc.COOKIE_VARIABLE: "cookie-1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    with child:
        assert child.stdout is not None
        child.stdout.readline()
        stat = proc.read_stat(child.pid)
        assert stat is not None
        assert (stat.parent, stat.group, stat.session) == (os.getpid(), child.pid, child.pid)
        assert not stat.is_zombie
        assert proc.read_cookie(child.pid) == b"cookie-1"
        assert proc.read_command_line(child.pid).endswith(b"input()\0")
        assert child.pid in proc.list_pids()
        assert proc.resident_bytes(child.pid) > 1 << 20
        assert not proc.may_have_children(child.pid)
        assert proc.may_have_children(os.getpid())
        assert not proc.catches_signal(child.pid, signal.SIGUSR1)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        dead = proc.read_stat(child.pid)
        assert dead is not None
        assert dead.is_zombie
        assert dead.start_time == stat.start_time
        assert os.waitstatus_to_exitcode(dead.wait_status) == -signal.SIGKILL
    assert proc.read_stat(child.pid) is None
    assert proc.read_cookie(child.pid) == b""
    assert proc.resident_bytes(child.pid) == 0
