"""A program as process 1 of a container: the kernel drops signals that have no handler."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.real

_UNSHARE = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]


def _can_unshare() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*_UNSHARE, "true"], check=False, capture_output=True).returncode == 0


@pytest.mark.skipif("not _can_unshare()", reason="needs a PID namespace of its own")
def test_sigterm_while_the_agent_is_imported_ends_it(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(
        "print('importing', flush=True)\nimport time; time.sleep(60)"
    )
    command = [sys.executable, "-m", "vsdk_trio", "run", "agent.py"]
    with subprocess.Popen(
        [*_UNSHARE, *command], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as unshare:
        assert unshare.stdout is not None
        assert unshare.stdout.readline() == "importing\n"
        [first] = psutil.Process(unshare.pid).children()
        first.send_signal(signal.SIGTERM)
        assert unshare.wait(timeout=20) == 128 + signal.SIGTERM
