"""Shortages, each made for real.

The new job fails with the shortage's name, running jobs go on, and all works again afterwards.
"""

from __future__ import annotations

import os
import resource
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import httpcore
import psutil
import pytest
import trio

from ..start_methods import start_method
from .conftest import AGENTS, Program, System, eventually, open_system

pytestmark = [pytest.mark.real, pytest.mark.slow]

each = pytest.mark.usefixtures("each_start_method")
USER = 54321
ENOUGH_PROCESSES = 4000
UNSHARE = ["unshare", "--user", "--map-root-user", "--mount"]
linux = pytest.mark.skipif(sys.platform != "linux", reason="limits of other processes: Linux only")


def can_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    command = [*UNSHARE, "mount", "-t", "tmpfs", "none", "/tmp"]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def sandbox(directory: Path, refused: str) -> dict[str, str]:
    """The environment of a program that is refused something."""
    shutil.copy(AGENTS / "sandbox.py", directory / "sitecustomize.py")
    return {"PYTHONPATH": str(directory), "SANDBOX": refused}


@asynccontextmanager
async def limited(program: Program, kind: int, limit: int) -> AsyncGenerator[None]:
    """Lower a limit of a running program for the length of the body."""
    soft, hard = resource.prlimit(program.pid, kind)
    resource.prlimit(program.pid, kind, (limit, hard))
    try:
        yield
    finally:
        resource.prlimit(program.pid, kind, (soft, hard))


async def fails_by(system: System, *names: str) -> str:
    """Use the idle process up, then see a job fail by its name, or be refused with it."""
    job = await system.run_job("returns")
    for _ in range(3):
        if job.state.value == "failed":
            break
        job = await system.run_job("returns")
    assert job.state.value == "failed", job
    assert any(name in str(job.error) for name in names), job.error
    return str(job.error)


async def works_again(system: System) -> None:
    """Within a few tries, because a process that was being started may fail still."""
    for _ in range(20):
        if (await system.run_job("returns")).state.value == "completed":
            return
        await trio.sleep(0.2)
    raise AssertionError("no job runs, although there is enough of everything again")


async def still_runs(system: System, worker: Program, job_id: str, *, tracebacks: int = 0) -> None:
    assert worker.process.poll() is None, worker.output
    assert not system.registry.job(job_id).state.ended
    assert worker.output.count("Traceback") == tracebacks, worker.output


@each
@pytest.mark.parametrize("refused", ["no pidfds", "no signals by pidfd"])
async def test_a_sandbox_without_pidfds(tmp_path: Path, refused: str) -> None:
    async with open_system(tmp_path) as system:
        if start_method() == "forkserver":
            worker = await system.start_agent(env=sandbox(tmp_path, refused))
            assert await worker.exit_code() == 2
            assert "cannot be 'forkserver' here" in worker.verdict
            assert "pidfds" in worker.verdict
            return
        worker = await system.open_agent(
            env=sandbox(tmp_path, refused), start_method="auto", max_processes=4
        )
        for _ in range(3):
            assert (await system.run_job("returns")).state.value == "completed"
        job = await system.run_job("os._exit", code=7)
        assert "exited with code 7" in str(job.error)
        # What a job leaves behind is killed, in its group and outside of it.
        assert (await system.run_job("forks")).state.value == "completed"
        await eventually(lambda: not system.find("sleep"), "daemons are left")
        said = [line for line in worker.output.splitlines() if "started afresh" in line]
        assert len(said) == 1, worker.output
        zombies = [
            child
            for child in psutil.Process(worker.pid).children()
            if child.status() == psutil.STATUS_ZOMBIE
        ]
        assert zombies == []
        # A worker that is killed: the guardian ends what is left.
        await system.dispatch("forks", waits=True)
        worker.signal(signal.SIGKILL)
        await worker.process.wait()
        await system.nothing_left(seconds=60)


@each
async def test_sigchld_ignored_by_what_has_started_us(tmp_path: Path) -> None:
    """Exit codes are true all the same: of job processes, and of what jobs start."""
    async with open_system(tmp_path) as system:
        program = (
            "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); "
            f"os.execv(sys.executable, [sys.executable, {str(AGENTS / 'agent.py')!r}])"
        )
        worker = await system.open_agent(prefix=("-c", program))
        job = await system.run_job("os._exit", code=7)
        assert "exited with code 7" in str(job.error), worker.output
        job = await system.run_job("signal", signum=int(signal.SIGSEGV))
        assert "SIGSEGV" in str(job.error)


@each
@pytest.mark.parametrize("journal", [False, True])
async def test_no_threads(tmp_path: Path, journal: bool) -> None:
    async with open_system(tmp_path) as system:
        worker = await system.open_agent(
            env=sandbox(tmp_path, "no threads"),
            max_processes=4,
            state_dir=str(tmp_path / "state") if journal else None,
        )
        assert "OK" in await health(worker)  # the HTTP server is loaded
        call = await system.dispatch("waits")
        await trio.sleep(0.5)  # threads that trio keeps for later have ended by then
        (tmp_path / "starved").touch()
        if start_method() == "spawn":
            await fails_by(system, "out of threads: cannot start a job process")
            assert (await ask(worker, "livez"))[0] == 200
            # After a second failure in a row.
            assert "out of threads: cannot start a job process" in await unready(worker)
        else:
            # A template needs none.
            assert (await system.run_job("returns")).state.value == "completed"
        await trio.sleep(1)
        await still_runs(system, worker, call)
        (tmp_path / "starved").unlink()
        await works_again(system)
        assert worker.output.count("shortages: out of threads") <= 2, worker.output


@each
@linux
async def test_no_descriptors(tmp_path: Path) -> None:
    async with open_system(tmp_path) as system:
        worker = await system.open_agent(max_processes=4)
        assert "OK" in await health(worker)  # the HTTP server is loaded
        call = await system.dispatch("waits")
        async with limited(worker, resource.RLIMIT_NOFILE, 3):
            await fails_by(system, "out of file descriptors", "no file descriptors")
            # Clients that connect meanwhile wait, and the log is not flooded.
            clients = [await trio.open_tcp_stream("127.0.0.1", port_of(worker)) for _ in range(3)]
            await trio.sleep(1)
            await still_runs(system, worker, call)
            assert len(worker.output.splitlines()) < 60, worker.output
        for client in clients:
            await client.aclose()
        await works_again(system)
        assert (await health(worker)).startswith("OK")


@each
async def test_probes_without_descriptors(tmp_path: Path) -> None:
    """A supervisor that finds no answer would end the worker, and all its calls with it."""
    async with open_system(tmp_path) as system:
        worker = await system.open_agent(env=sandbox(tmp_path, "no descriptors"), max_processes=4)
        assert "OK" in await health(worker)  # the HTTP server is loaded
        call = await system.dispatch("waits")
        (tmp_path / "starved").touch()
        await fails_by(system, "out of file descriptors", "no file descriptors")
        (tmp_path / "held").touch()
        (tmp_path / "starved").unlink()
        idle = await trio.open_tcp_stream("127.0.0.1", port_of(worker))  # and asks nothing
        with trio.fail_after(20):
            assert await ask(worker, "livez") == (200, "OK")
            assert (await ask(worker, "readyz"))[0] in (200, 503)
            assert (await ask(worker, "livez"))[0] == 200
        await idle.aclose()
        await still_runs(system, worker, call)
        (tmp_path / "held").unlink()
        await works_again(system)


async def ask(worker: Program, path: str) -> tuple[int, str]:
    async with httpcore.AsyncConnectionPool() as pool:
        answer = await pool.request("GET", f"http://127.0.0.1:{port_of(worker)}/{path}")
    return answer.status, answer.content.decode()


async def health(worker: Program) -> str:
    return (await ask(worker, "health"))[1]


async def unready(worker: Program) -> str:
    """Why the worker takes nothing, as soon as it says so."""
    with trio.fail_after(30):
        while (answer := await ask(worker, "readyz"))[0] == 200:  # noqa: ASYNC110  # a probe polls
            await trio.sleep(0.1)
    return answer[1]


def port_of(worker: Program) -> int:
    words = worker.output.replace(",", " ").split()
    url = next(word for word in words if word.startswith("http://127.0.0.1:"))
    return int(url.rpartition(":")[2])


@each
@linux
@pytest.mark.skipif(os.geteuid() != 0, reason="another user's program: for root to start")
@pytest.mark.skipif(shutil.which("prlimit") is None, reason="needs prlimit, of util-linux")
async def test_no_processes(tmp_path: Path) -> None:
    """As a user without other processes: the limit counts all of the user's, and root has none."""
    executable, env = python_for(USER, tmp_path)
    async with open_system(tmp_path) as system:
        worker = await system.open_agent(executable=executable, env=env, user=USER, max_processes=4)
        call = await system.dispatch("waits")
        processes = [worker.pid, *(template.pid for template in system.templates())]
        limit_processes(processes, 1)
        await fails_by(system, "out of processes", "out of threads")
        await still_runs(system, worker, call)
        limit_processes(processes, ENOUGH_PROCESSES)
        await works_again(system)


def limit_processes(pids: list[int], limit: int) -> None:
    """As the user itself: in a container, root may not do it for others."""
    for pid in pids:
        subprocess.run(
            ["prlimit", "--pid", str(pid), f"--nproc={limit}:"], user=USER, check=True, cwd="/"
        )


@contextmanager
def cgroup(kind: str) -> Iterator[Path]:
    """A new group of the first version's hierarchy `kind`, as a container has it."""
    directory = Path("/sys/fs/cgroup", kind, f"vsdk-trio-{secrets.token_hex(4)}")
    try:
        directory.mkdir()
    except OSError as error:
        pytest.skip(f"cannot make a cgroup: {error}")
    try:
        yield directory
    finally:
        for _ in range(100):  # what has ended in it is gone in a moment
            with suppress(OSError):
                directory.rmdir()
                break
            time.sleep(0.05)


def join(directory: Path, *pids: int) -> None:
    for pid in pids:
        (directory / "cgroup.procs").write_text(str(pid))


@each
@linux
async def test_no_pids_in_the_container(tmp_path: Path) -> None:
    with cgroup("pids") as directory:
        async with open_system(tmp_path) as system:
            worker = await system.open_agent(max_processes=4)
            call = await system.dispatch("waits")
            join(directory, worker.pid, *(process.pid for process in system.templates()))
            (directory / "pids.max").write_text("1")
            await fails_by(system, "out of processes", "out of threads")
            await still_runs(system, worker, call)
            (directory / "pids.max").write_text("max")
            await works_again(system)


@each
@linux
async def test_no_memory_in_the_container(tmp_path: Path) -> None:
    """The kernel ends the largest process of it, which is the job that has eaten it."""
    with cgroup("memory") as directory:
        async with open_system(tmp_path) as system:
            worker = await system.open_agent(max_processes=4, num_idle_processes=0)
            call = await system.dispatch("waits")
            join(directory, worker.pid, *(process.pid for process in system.templates()))
            (directory / "memory.limit_in_bytes").write_text(str(200 << 20))
            job = await system.run_job("eats", megabytes=1000)
            assert job.state.value == "failed", job
            assert "killed by SIGKILL (out of memory?)" in str(job.error)
            assert "oom_kill 1" in (directory / "memory.oom_control").read_text()
            await still_runs(system, worker, call)
            await works_again(system)


def python_for(user: int, directory: Path) -> tuple[str, dict[str, str]]:
    """A Python that this user may run, and the environment in which it finds this package."""
    directory.chmod(0o777)
    for parent in directory.parents[:2]:
        parent.chmod(0o755)
    env = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if os.path.isdir(path))}
    version = "python{}.{}".format(*sys.version_info)
    for executable in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        command = [executable, "-c", "import vsdk_trio.worker.worker"]
        try:
            subprocess.run(command, env=env, user=user, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return executable, env
    pytest.skip("no Python of this version that another user may run")


@each
@linux
async def test_no_memory(tmp_path: Path) -> None:
    """No more address space for what is started; what starts it has a little to go on with."""
    async with open_system(tmp_path) as system:
        worker = await system.open_agent(max_processes=4)
        call = await system.dispatch("waits")
        [parent] = system.templates() or [psutil.Process(worker.pid)]
        soft, hard = resource.prlimit(parent.pid, resource.RLIMIT_AS)
        room = parent.memory_info().vms + (64 << 20)
        resource.prlimit(parent.pid, resource.RLIMIT_AS, (room, hard))
        for _ in range(3):  # what is idle was started before
            await system.run_job("returns")
        job = await system.run_job("eats", megabytes=room >> 20)
        assert job.state.value == "failed", job
        assert "memory" in str(job.error).lower(), job
        await still_runs(system, worker, call, tracebacks=1)  # the job's own
        for pid in (worker.pid, *(process.pid for process in system.templates())):
            resource.prlimit(pid, resource.RLIMIT_AS, (soft, hard))
        await works_again(system)


@pytest.mark.skipif(not can_mount(), reason="needs a mount namespace of its own")
async def test_a_full_disk(tmp_path: Path) -> None:
    """Journal, log and temporary files on one small disk: no job is lost for it."""
    async with open_system(tmp_path) as system:
        disk = tmp_path / "disk"
        disk.mkdir()
        command = (
            f"mount -t tmpfs -o size=256k none {disk} && exec {sys.executable} -c "
            f'\'import os, runpy; os.environ["TMPDIR"] = "{disk}"; '
            f'runpy.run_path("{AGENTS / "agent.py"}", run_name="__main__")\''
        )
        program = f"import os; os.execvp('unshare', [*{UNSHARE!r}, 'sh', '-c', {command!r}])"
        worker = await system.open_agent(
            prefix=("-c", program),
            max_processes=4,
            state_dir=str(disk / "state"),
            start_method="spawn",
        )
        call = await system.dispatch("waits")
        inside = Path(f"/proc/{system.find('agent.py')[0].pid}/root{disk}")
        with pytest.raises(OSError, match="No space left"):
            (inside / "filler").write_bytes(b"x" * (1 << 20))
        for _ in range(3):
            assert (await system.run_job("returns")).state.value == "completed"
        await still_runs(system, worker, call)
        assert "going on without a journal" in worker.output
        assert "journal" in await health(worker)


@each
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
async def test_a_log_on_a_full_disk(tmp_path: Path) -> None:
    """What cannot be written is lost, and nothing else."""
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        async with open_system(tmp_path) as system:
            worker = await system.open_agent(stderr=full, max_processes=4)
            for kind in ("returns", "prints", "returns"):
                assert (await system.run_job(kind)).state.value == "completed"
            assert (await system.run_job("raises")).state.value == "failed"
            worker.signal(signal.SIGTERM)
            assert await worker.exit_code() == 0
    finally:
        os.close(full)


LOCKED_DOWN = """
set -e
touch notes.txt; chmod 666 notes.txt
mount --bind notes.txt notes.txt  # in which the agent tells the test what it does
for place in / /dev/shm "$PWD"; do
    mount --bind "$place" "$place"
    mount -o remount,bind,ro "$place"
done
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts, and another user's program: for root")
@pytest.mark.skipif(not can_mount(), reason="needs a mount namespace of its own")
@pytest.mark.skipif("shutil.which('setpriv') is None", reason="needs setpriv, of util-linux")
async def test_a_container_that_is_locked_down(tmp_path: Path) -> None:
    """Nothing can be written, the user has no name and no HOME, and seccomp forbids system calls.

    /tmp and /dev/shm are read-only, too; pidfds, memfds and clone3 are forbidden.
    """
    python, env = python_for(USER, tmp_path)
    agent = [python, str(AGENTS / "locked_down.py"), str(AGENTS / "agent.py")]
    for file in (*AGENTS.parents[:3], AGENTS):
        assert os.stat(file).st_mode & 0o005 == 0o005, f"{file} cannot be read by all"
    user = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
    command = shlex.join(["exec", "env", "-u", "HOME", "-u", "USER", "-u", "TMPDIR", *user, *agent])
    async with open_system(tmp_path) as system:
        worker = await system.open_agent(
            executable="unshare",
            prefix=("--mount", "sh", "-c", LOCKED_DOWN + command),
            env=env,
            start_method="auto",
            max_processes=4,
        )
        assert psutil.Process(worker.pid).uids().real == USER
        for _ in range(3):
            assert (await system.run_job("returns")).state.value == "completed"
        assert "exited with code 7" in str((await system.run_job("os._exit", code=7)).error)
        assert (await system.run_job("forks")).state.value == "completed"
        await eventually(lambda: not system.find("sleep"), "daemons are left")
        assert "OK" in await health(worker)
        assert worker.output.count("started afresh") == 1, worker.output
        assert "Traceback" not in worker.output, worker.output
        worker.signal(signal.SIGTERM)
        assert await worker.exit_code() == 0, worker.output
