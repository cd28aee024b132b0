"""A program as process 1 of a container: the kernel drops signals that have no handler."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from .conftest import Program, System, eventually, open_system

pytestmark = pytest.mark.real

_UNSHARE = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]
_WITH_PROC = [*_UNSHARE, "--mount-proc"]


def _can_unshare() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*_UNSHARE, "true"], check=False, capture_output=True).returncode == 0


# Values and no texts: pytest cannot evaluate those for an async test that is tried again.
_HAS_NAMESPACES = _can_unshare()
needs_namespace = pytest.mark.skipif(not _HAS_NAMESPACES, reason="needs a PID namespace of its own")
# Orphans are looked for each second. A child that leads a session is taken for one only if it had
# another parent when it was looked at.
FOR_A_LOOK = 2.5


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("program", [["-m", "vsdk_trio", "run"], []], ids=["run", "python"])
@needs_namespace
def test_a_signal_while_the_agent_is_imported_ends_it(
    tmp_path: Path, program: list[str], signum: signal.Signals
) -> None:
    """By `python agent.py` from the import of the package on."""
    (tmp_path / "agent.py").write_text(
        "from vsdk_trio import WorkerJob\nprint('importing', flush=True)\n"
        "import time; time.sleep(60)"
    )
    command = [*_UNSHARE, sys.executable, *program, "agent.py"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as unshare:
        assert unshare.stdout is not None
        assert unshare.stdout.readline() == "importing\n"
        [first] = psutil.Process(unshare.pid).children()
        first.send_signal(signum)
        assert unshare.wait(timeout=20) == 128 + signum


def _zombies(process: psutil.Process) -> list[int]:
    found = process.children(recursive=True)
    return [one.pid for one in found if one.status() == psutil.STATUS_ZOMBIE]


async def _start_in_a_namespace(system: System, *before: str) -> tuple[Program, psutil.Process]:
    """An agent whose process 1 is the first of `before`, or itself; and `unshare` around it."""
    launcher = "import os, sys; os.execvp(sys.argv[1], sys.argv[1:])"
    unshare = await system.start_agent(
        before=("-c", launcher, *_WITH_PROC, *before, sys.executable), max_processes=2
    )
    await eventually(system.registry.workers, "no worker")
    [first] = psutil.Process(unshare.pid).children()
    return unshare, first


@pytest.mark.usefixtures("each_start_method")
@needs_namespace
async def test_orphans_of_jobs_are_reaped(tmp_path: Path) -> None:
    """A job leaves a daemon; it is killed, becomes a child of process 1, and must not stay."""
    async with open_system(tmp_path) as system:
        unshare, first = await _start_in_a_namespace(system)
        job = await system.run_job("forks", seconds=FOR_A_LOOK)
        assert job.state.value == "completed"
        assert await system.run_job("returns")  # a child of the worker's own is not taken from it
        await eventually(lambda: "reaped an orphan" in unshare.output, "not reaped")
        await eventually(lambda: not _zombies(first), "zombies are left")
        first.send_signal(signal.SIGTERM)
        assert await unshare.exit_code() == 0, unshare.output
        assert "Traceback" not in unshare.output


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize(
    "init",
    [
        pytest.param(
            f"{program} {arguments}",
            marks=pytest.mark.skipif(
                not _HAS_NAMESPACES or shutil.which(program) is None,
                reason=f"needs {program} and a PID namespace of its own",
            ),
        )
        for program, arguments in (
            ("tini", "--"),
            ("tini", "-g --"),
            ("dumb-init", "--"),
            ("sh", "-c"),
        )
    ],
)
async def test_behind_an_init(tmp_path: Path, init: str, signum: signal.Signals) -> None:
    """It hands signals on, to the worker or to its group, and reaps what jobs leave."""
    words = init.split()
    if words[0] == "sh":
        # As a shell script that is the entrypoint of an image must end.
        words += ['exec "$0" "$@"']
    async with open_system(tmp_path) as system:
        unshare, first = await _start_in_a_namespace(system, *words)
        assert await system.run_job("forks", seconds=FOR_A_LOOK)
        await eventually(lambda: not _zombies(first), "zombies are left")
        job_id = await system.dispatch("goes on")
        first.send_signal(signum)
        if signum != signal.SIGINT:
            await eventually(lambda: "draining" in unshare.output, "not draining")
            system.let_go()
        state = (await system.end_of(job_id)).state.value
        assert state == ("cancelled" if signum == signal.SIGINT else "completed")
        assert await unshare.exit_code() == 0, unshare.output
        assert "Traceback" not in unshare.output


@pytest.mark.usefixtures("unmeasured")
@needs_namespace
async def test_the_end_of_process_1_is_the_end_of_all(tmp_path: Path) -> None:
    """As by the SIGKILL of `docker stop`, ten seconds after its SIGTERM."""
    async with open_system(tmp_path) as system:
        unshare, first = await _start_in_a_namespace(system)
        await system.dispatch("waits")
        first.send_signal(signal.SIGTERM)
        await eventually(lambda: "SIGTERM received: draining" in unshare.output, "not draining")
        first.kill()
        await unshare.exit_code()
        await system.nothing_left()
