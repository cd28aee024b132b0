"""What goes wrong around a template: killed, stopped, out of resources, an old kernel."""

from __future__ import annotations

import errno
import os
import random
import secrets
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import trio
import trio.lowlevel

from vsdk_trio.control.frames import Finished
from vsdk_trio.errors import JobProcessError, OptionsError
from vsdk_trio.forkserver import forked, template
from vsdk_trio.forkserver.forked import ForkedHandle
from vsdk_trio.forkserver.spawner import missing_for_forking
from vsdk_trio.options.worker import Options
from vsdk_trio.processes.edge import EXIT_UNKNOWN, Command
from vsdk_trio.processes.job_process import JobProcess, run_job_process
from vsdk_trio.processes.orphans import kill_carriers
from vsdk_trio.worker.worker import Worker

from .agents import GRACES, Agent, until
from .forking import PROGRAM, CountingSpawner, open_forkserver
from .test_forkserver_real import DONE, spawned, template_of

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("nothing_left")]

SLEEPER = (sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)")


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    agent = Agent(tmp_path)
    agent.write("""
        async def entrypoint(ctx):
            note("began", os.getpid())
            while ctx.metadata.get("waits") and not (HERE / "go").exists():
                await trio.sleep(0.01)
            if number := ctx.metadata.get("signal"):
                os.kill(os.getpid(), number)
            if code := ctx.metadata.get("code"):
                os._exit(code)
            note("ended", ctx.metadata.get("number"))
        """)
    return agent


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "ORDER_SECONDS", 0.5)
    monkeypatch.setattr(forked, "STATUS_SECONDS", 0.5)


@pytest.mark.parametrize(
    ("metadata", "returncode"),
    [({"signal": 9}, -9), ({"signal": 11}, -11), ({"code": 7}, 7), ({}, 0)],
)
@pytest.mark.parametrize("kernel", ["tells", "silent"])
async def test_the_template_is_killed_and_what_it_has_forked_goes_on(
    agent: Agent,
    metadata: dict[str, int],
    returncode: int,
    kernel: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if kernel == "silent":
        monkeypatch.setattr(ForkedHandle, "_status_of_zombie", lambda self: None)
        monkeypatch.setattr(ForkedHandle, "_status_of_reaped", lambda self: None)
    async with agent.forkserver() as forkserver:
        async with agent.process(forkserver) as process:
            await agent.give_job(process, waits=True, **metadata)
            await until(lambda: agent.noted("began"), "not begun")
            first = template_of(forkserver)
            first.kill()
            await until(lambda: forkserver._template is None, "not noticed")
            assert await agent.run_job(forkserver) == DONE if not metadata else True
            (agent.directory / "go").touch()
            frames = [frame async for frame in process.frames()]
            await process.exited.wait()
        await until(lambda: forkserver._template, "not replaced")
        assert template_of(forkserver) != first
    if not metadata:
        assert frames[-1] == DONE
    if kernel == "tells":
        assert process.exit.returncode == returncode
    else:
        assert process.exit.returncode == EXIT_UNKNOWN
        assert process.exit.signal_name is None
        assert "it is not known how: its template had died before" in process.exit.describe()


@pytest.mark.usefixtures("quick")
async def test_a_template_that_does_not_obey_is_replaced(
    agent: Agent, caplog: pytest.LogCaptureFixture
) -> None:
    async with agent.forkserver() as forkserver:
        assert await agent.run_job(forkserver) == DONE
        first = template_of(forkserver)
        first.suspend()
        assert await agent.run_job(forkserver) == DONE
        assert spawned(forkserver) == 1
        assert not first.is_running()
        await until(lambda: forkserver._template, "not replaced")
        assert await agent.run_job(forkserver) == DONE
        assert spawned(forkserver) == 1
    assert "killed, because it did not obey within 0.5 s" in caplog.messages


@pytest.mark.usefixtures("quick")
async def test_a_template_that_does_not_tell_an_end_is_replaced(agent: Agent) -> None:
    async with agent.forkserver() as forkserver:
        async with agent.process(forkserver) as process:
            await agent.give_job(process, waits=True, code=7)
            await until(lambda: agent.noted("began"), "not begun")
            first = template_of(forkserver)
            first.suspend()
            (agent.directory / "go").touch()
            with trio.fail_after(10):
                await process.exited.wait()
        assert process.exit.returncode == 7
        await until(lambda: not first.is_running(), "not killed")


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_a_template_killed_or_stopped_at_random_costs_no_job(agent: Agent) -> None:
    """Forty jobs, four at a time; a template lives for some tenths of a second."""
    rng = random.Random(0)
    async with agent.forkserver() as forkserver:
        over = trio.Event()
        frames: list[Finished | None] = []

        async def trouble() -> None:
            while not over.is_set():
                await trio.sleep(rng.uniform(0, 0.4))
                if (living := forkserver._template) is not None:
                    os.kill(living.pid, rng.choice((signal.SIGKILL, signal.SIGSTOP)))

        async def jobs(numbers: range) -> None:
            for number in numbers:
                frames.append(await agent.run_job(forkserver, number=number))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trouble)
            async with trio.open_nursery() as working:
                for first in range(0, 40, 10):
                    working.start_soon(jobs, range(first, first + 10))
            over.set()
    assert frames == [DONE] * 40
    assert sorted(map(int, agent.noted("ended"))) == list(range(40))


async def _start(nursery: trio.Nursery, forkserver: Any, command: Command) -> JobProcess:
    process: JobProcess = await nursery.start(
        partial(run_job_process, forkserver, command, graces=GRACES)
    )
    return process


async def test_what_the_system_will_not_fork_is_one_error(tmp_path: Path) -> None:
    program = tmp_path / "starved_template.py"
    program.write_text(
        "import os, sys\n"
        f"sys.path.insert(0, {str(PROGRAM.parent)!r})\n"
        "def fork(): raise BlockingIOError(11, 'Resource temporarily unavailable')\n"
        "os.fork = fork\n"
        "import template_program\n"
    )
    async with open_forkserver(argv=(sys.executable, str(program))) as forkserver:
        for _ in range(2):  # it stays: the next one may fare better
            command = Command(argv=SLEEPER, cookie="starved")
            with pytest.raises(JobProcessError, match=r"the template cannot fork: .*unavailable"):
                await run_job_process(forkserver, command, graces=GRACES)


async def test_what_is_too_long_for_an_order_is_spawned(monkeypatch: pytest.MonkeyPatch) -> None:
    fallback = CountingSpawner()
    async with open_forkserver(fallback=fallback) as forkserver:
        await trio.lowlevel.checkpoint()
        await forkserver._first_has_settled.wait()
        for number in range(3):
            monkeypatch.setenv(f"LONG_{number}", "x" * 100_000)
        command = Command(argv=(sys.executable, "-c", "1"), cookie="long")
        await run_job_process(forkserver, command, graces=GRACES)
    assert fallback.started == 1


@pytest.mark.parametrize("kernel", ["new", "old"])
async def test_group_and_cookie_catch_everything_and_nothing_else(
    kernel: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A job with children in its group, and daemons: forked, executed, forked by those."""
    if kernel == "old":
        _without_group_signals(monkeypatch)
    program = f"""
import os, subprocess, sys, time
def told(what, pid):
    with open({str(tmp_path / "pids")!r}, "a") as file: file.write(f"{{what}} {{pid}}\\n")
def daemon(body):
    if not os.fork():
        os.setsid()
        body()
        os._exit(0)
if not os.fork():
    time.sleep(600)
def forks():
    told("daemon", os.getpid())
    if not os.fork():
        os.setsid()
        told("daemon", os.getpid())
    time.sleep(600)
def executes():
    told("daemon", os.getpid())
    os.execvp("sleep", ["sleep", "600"])
daemon(forks)
daemon(executes)
subprocess.Popen(["sleep", "600"], start_new_session=True)
time.sleep(600)
"""
    argv = (sys.executable, "-c", program)
    cookie = secrets.token_hex(4)
    async with open_forkserver() as forkserver, trio.open_nursery() as nursery:
        bystander = await _start(nursery, forkserver, Command(argv=SLEEPER, cookie=f"{cookie}.1"))
        process = await _start(nursery, forkserver, Command(argv=argv, cookie=f"{cookie}.11"))

        def pids() -> list[int]:
            mine = []
            for other in psutil.process_iter():
                try:
                    if other.environ().get("VSDK_TRIO_COOKIE") == f"{cookie}.11":
                        mine.append(other.pid)
                except psutil.Error:
                    continue
            return mine

        def groups() -> tuple[int, int]:
            """How many are in its group, and how many are not."""
            found = pids()
            inside = sum(os.getpgid(pid) == process.pid for pid in found)
            return inside, len(found) - inside

        # Itself and a child; three daemons that forked, and one that was started.
        await until(lambda: groups() == (2, 4), "not all are there")
        process.request_stop("enough")
        os.killpg(process.pid, signal.SIGKILL)
        await process.exited.wait()
        await until(lambda: len(pids()) == 4, "the group is left")
        # One that is dying may be counted once more.
        assert kill_carriers(frozenset({f"{cookie}.11"})) >= 4
        await until(lambda: not pids(), "daemons are left")
        assert not bystander.exited.is_set()
        assert template_of(forkserver).is_running()
        bystander.request_stop("the test is over")


def _without_group_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    send = signal.pidfd_send_signal

    def as_before_linux_6_9(pidfd: int, signum: int, info: None = None, flags: int = 0) -> None:
        if flags:
            raise OSError(errno.EINVAL, "Invalid argument")
        send(pidfd, signum)

    monkeypatch.setattr(signal, "pidfd_send_signal", as_before_linux_6_9)


@pytest.mark.parametrize("kernel", ["new", "old"])
async def test_an_old_kernel_stops_processes_as_well(
    kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kernel == "old":
        _without_group_signals(monkeypatch)
    async with open_forkserver() as forkserver:
        for _ in range(10):  # also before they lead their groups
            async with trio.open_nursery() as nursery:
                process = await _start(nursery, forkserver, Command(argv=SLEEPER, cookie="old"))
                process._handle.signal_group(signal.SIGKILL)
            assert process.exit.returncode == -signal.SIGKILL
            process._handle.signal_group(signal.SIGKILL)


async def test_the_template_ends_with_its_worker(tmp_path: Path) -> None:
    """Killed where it stands: the template has seen its end before the guardian would act."""
    program = tmp_path / "worker.py"
    program.write_text(
        "import sys, trio\n"
        f"sys.path.insert(0, {str(PROGRAM.parent.parent.parent)!r})\n"
        "from tests.processes.forking import open_forkserver\n"
        "async def main():\n"
        "    async with open_forkserver() as forkserver:\n"
        "        await forkserver._first_has_settled.wait()\n"
        "        print(forkserver._template.pid, flush=True)\n"
        "        await trio.sleep_forever()\n"
        "trio.run(main)\n"
    )
    worker = await trio.lowlevel.open_process(
        [sys.executable, str(program)], stdout=subprocess.PIPE
    )
    assert worker.stdout is not None
    async with worker.stdout:
        line = await worker.stdout.receive_some()
        living = psutil.Process(int(line))
        # Signals for the worker's whole service do not end it.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            living.send_signal(number)
        await trio.sleep(0.1)
        assert living.status() != psutil.STATUS_ZOMBIE
        worker.kill()
        await worker.wait()
        await until(
            lambda: not living.is_running() or living.status() == psutil.STATUS_ZOMBIE,
            "it outlives its worker",
        )


@pytest.mark.skipif(
    tuple(int(n) for n in os.uname().release.split(".")[:2]) < (6, 15),
    reason="Linux tells since 6.15",
)
async def test_the_kernel_tells_how_a_buried_process_has_ended() -> None:
    """Process 1 has buried it, after its template had died; here, this test does."""
    process = await trio.lowlevel.open_process([sys.executable, "-c", "raise SystemExit(7)"])
    pidfd = os.pidfd_open(process.pid)
    pipes = [os.pipe() for _ in range(3)]
    for its_end in (pipes[0][0], pipes[1][1], pipes[2][1]):
        os.close(its_end)
    handle = ForkedHandle(process.pid, pidfd, (pipes[0][1], pipes[1][0], pipes[2][0]))
    await handle.wait_ended()
    await process.wait()
    handle.lose_template()
    assert await handle.learn_returncode() == 7
    assert handle.returncode == 7
    assert handle.memory_mb() is None
    assert handle.cpu_seconds() is None
    assert not handle.ask_for_stacks(signal.SIGTERM)
    handle.end_group()
    handle.close()


async def entrypoint(ctx: object) -> None: ...


async def test_another_system_has_no_forkserver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert missing_for_forking() == "it needs Linux, and this is darwin"
    options = Options(start_method="forkserver", auth_token="token", register=True)
    with pytest.raises(OptionsError, match="cannot be 'forkserver' here: it needs Linux"):
        await Worker(options, entrypoint=entrypoint).run()
