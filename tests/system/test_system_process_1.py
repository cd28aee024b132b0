"""A program as process 1 of a container: the kernel drops signals that have no handler."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from .conftest import eventually, open_system

pytestmark = pytest.mark.real

_UNSHARE = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]
_WITH_PROC = [*_UNSHARE, "--mount-proc"]


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


@pytest.mark.usefixtures("each_start_method")
@pytest.mark.skipif("not _can_unshare()", reason="needs a PID namespace of its own")
async def test_orphans_of_jobs_are_reaped(tmp_path: Path) -> None:
    """A job leaves a daemon; it is killed, becomes a child of process 1, and must not stay."""
    async with open_system(tmp_path) as system:
        launcher = "import os, sys; os.execvp(sys.argv[1], sys.argv[1:])"
        unshare = await system.start_agent(before=("-c", launcher, *_WITH_PROC, sys.executable))
        await eventually(system.registry.workers, "no worker")
        [first] = psutil.Process(unshare.pid).children()
        job = await system.run_job("forks")
        assert job.state.value == "completed"
        assert await system.run_job("returns")  # a child of the worker's own is not taken from it
        await eventually(lambda: "reaped an orphan" in unshare.output, "not reaped")

        def zombies() -> list[int]:
            found = first.children(recursive=True)
            return [one.pid for one in found if one.status() == psutil.STATUS_ZOMBIE]

        await eventually(lambda: not zombies(), "zombies are left")
        first.send_signal(signal.SIGTERM)
        assert await unshare.exit_code() == 0, unshare.output
        assert "Traceback" not in unshare.output
