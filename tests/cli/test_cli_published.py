"""Agents of the published package, unmodified or half-way, given to our commands.

Its classes are stood in for here, so that these tests run without it; `tests/peers` has the real
ones.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from vsdk_trio.registry.core import Registry
from vsdk_trio.registry.ledger import DispatchRequest, LedgerState
from vsdk_trio.registry.server import open_registry

from .conftest import clean_environment, open_cli, run_cli

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("unmeasured")]

JOB_MODULE = """
from dataclasses import dataclass

@dataclass
class Options:
    agent_id: str = "VideoSDKAgent"
    max_processes: int = 1
    register: bool = False

class RoomOptions:
    def __init__(self, **values):
        vars(self).update(values)

class JobContext:
    def __init__(self, *, room_options, metadata=None, loop=None):
        self.room_options, self.metadata = room_options, metadata or {}

class WorkerJob:
    def __init__(self, entrypoint, jobctx=None, options=None):
        self.entrypoint, self.jobctx, self.options = entrypoint, jobctx, options or Options()

    def start(self):
        import asyncio
        print("THE PUBLISHED WORKER RUNS", flush=True)
        asyncio.run(self.entrypoint(self.jobctx()))
"""
WORKER_MODULE = """
class Worker:
    @staticmethod
    def run_worker(options, default_room_options=None):
        print("THE PUBLISHED WORKER RUNS", flush=True)
"""
AGENT = """
import asyncio, sys
from videosdk.agents import JobContext, Options, RoomOptions, WorkerJob

async def entrypoint(ctx):
    await asyncio.sleep(0)
    print("acting as", ctx.room_options.name, ctx.metadata, flush=True)

def make_context():
    return JobContext(room_options=RoomOptions(name="Ada"), metadata={"k": "v"})

def main():
    options = Options(agent_id="theirs", max_processes=3, register=True)
    WorkerJob(entrypoint=entrypoint, jobctx=make_context, options=options).start()

"""
WAYS = {
    "guarded": 'if __name__ == "__main__":\n    main()\n',
    "not guarded": "main()\n",
    "sys.exit": "sys.exit(main())\n",
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A directory beside one with the stand-in, which PYTHONPATH names."""
    package = tmp_path / "library" / "videosdk" / "agents"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "__init__.py").write_text(
        "from .job import JobContext, Options, RoomOptions, WorkerJob\nfrom .worker import Worker\n"
    )
    (package / "job.py").write_text(JOB_MODULE)
    (package / "worker.py").write_text(WORKER_MODULE)
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def surroundings(home: Path, **more: str) -> dict[str, str]:
    library = str(home.parent / "library")
    return {"PYTHONPATH": library, "VSDK_TRIO_TRANSPORT": "loopback"} | more


@pytest.mark.parametrize(
    ("way", "method"), [*((way, "forkserver") for way in WAYS), ("not guarded", "spawn")]
)
async def test_its_worker_job_runs_under_our_worker(home: Path, way: str, method: str) -> None:
    (home / "agent.py").write_text(AGENT + WAYS[way])
    async with open_registry(Registry()) as running:
        env = surroundings(
            home, VSDK_TRIO_SIGNALING_BASE_URL=running.url, VIDEOSDK_AUTH_TOKEN="local"
        )
        args = ("run", "agent.py", "--port", "0", "--start-method", method)
        async with open_cli(*args, env=env, cwd=home) as worker:
            await worker.read_until("registered with the registry")
            (seen,) = running.registry.workers()
            assert (seen.agent_id, seen.capacity) == ("theirs", 3)
            job = await running.registry.dispatch(DispatchRequest(agent_id="theirs", room_id="r"))
            with trio.fail_after(30):
                ended = await running.registry.wait_ended(job.job_id)
            assert ended.state is LedgerState.COMPLETED, ended
            await worker.read_until("acting as Ada {'k': 'v'}")
            worker.process.send_signal(signal.SIGINT)
            assert await worker.end() == 0
            assert "PUBLISHED WORKER" not in worker.text


@pytest.mark.parametrize("way", WAYS)
async def test_one_job_of_it_here_and_now(home: Path, way: str) -> None:
    (home / "agent.py").write_text(AGENT + WAYS[way])
    done = await run_cli("connect", "agent.py", env=surroundings(home), cwd=home)
    assert (done.code, done.out) == (0, "acting as Ada {'k': 'v'}\n"), done


@pytest.mark.parametrize(
    ("target", "lines"),
    [
        ("agent", WAYS["guarded"]),
        ("agent", WAYS["not guarded"]),
        ("agent.py:entrypoint", WAYS["not guarded"]),
        ("agent:job", "job = WorkerJob(entrypoint=entrypoint, jobctx=make_context)\n"),
        ("agent.py:job", "job = WorkerJob(entrypoint=entrypoint, jobctx=make_context)\n"),
    ],
)
async def test_each_way_to_name_it(home: Path, target: str, lines: str) -> None:
    (home / "agent.py").write_text(AGENT + lines)
    done = await run_cli("connect", target, env=surroundings(home), cwd=home)
    assert (done.code, done.out) == (0, "acting as Ada {'k': 'v'}\n"), done


async def test_a_session_of_its_in_a_loopback_room_is_warned_of(home: Path) -> None:
    (home.parent / "library" / "videosdk" / "agents" / "agent_session.py").touch()
    (home / "agent.py").write_text(
        "import videosdk.agents.agent_session\n" + AGENT + WAYS["guarded"]
    )
    done = await run_cli("connect", "agent.py", env=surroundings(home), cwd=home)
    assert done.code == 0
    assert "choose another transport: VSDK_TRIO_TRANSPORT=websocket" in done.err


async def test_a_function_that_is_marked_where_the_job_is_made(home: Path) -> None:
    """`aio.entrypoint(f)` in place of the decorator: a job process finds `f` without the mark."""
    agent = AGENT.replace("import asyncio, sys", "import asyncio, sys, vsdk_trio")
    agent = agent.replace(
        "WorkerJob(entrypoint=entrypoint",
        "vsdk_trio.WorkerJob(entrypoint=vsdk_trio.aio.entrypoint(entrypoint)",
    )
    (home / "agent.py").write_text(agent + WAYS["guarded"])
    async with open_registry(Registry()) as running:
        env = surroundings(
            home, VSDK_TRIO_SIGNALING_BASE_URL=running.url, VIDEOSDK_AUTH_TOKEN="local"
        )
        async with open_cli("run", "agent.py", "--port", "0", env=env, cwd=home) as worker:
            await worker.read_until("registered with the registry")
            job = await running.registry.dispatch(DispatchRequest(agent_id="theirs", room_id="r"))
            with trio.fail_after(30):
                ended = await running.registry.wait_ended(job.job_id)
            assert ended.state is LedgerState.COMPLETED, ended


@pytest.mark.parametrize(
    ("lines", "code", "said"),
    [
        (
            "from videosdk.agents import Worker\nWorker.run_worker(None)\n",
            2,
            "write WorkerJob(entrypoint=..., options=Options(...)).start() instead",
        ),
        ("import sys\nsys.exit(3)\n", 1, "it ended by sys.exit(3) before there was a job"),
        ("raise SystemExit('set KEY')\n", 1, "it ended by sys.exit('set KEY') before"),
    ],
)
async def test_what_starts_something_else_is_one_line(
    home: Path, lines: str, code: int, said: str
) -> None:
    (home / "agent.py").write_text(lines)
    done = await run_cli("run", "agent.py", env=surroundings(home), cwd=home)
    assert (done.code, done.out) == (code, "")
    assert said in done.err
    assert done.err.count("\n") == 1


async def test_without_the_package_the_error_says_what_to_do(home: Path) -> None:
    block = home.parent / "block"
    block.mkdir()
    (block / "sitecustomize.py").write_text(
        "import sys\nsys.modules['videosdk'] = None\n"  # as if it were not installed
    )
    (home / "agent.py").write_text(AGENT + WAYS["guarded"])
    done = await run_cli("run", "agent.py", env={"PYTHONPATH": str(block)}, cwd=home)
    assert done.code == 1
    assert "run `pip install videosdk-agents`, or import WorkerJob" in done.err
    assert done.err.count("\n") == 1


def run_python(home: Path, *args: str) -> str:
    """Run a program that has to fail; returns the last line of what it says."""
    done = subprocess.run(
        [sys.executable, *args],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=home,
        env=clean_environment(surroundings(home)),
    )
    assert done.returncode == 1, done
    return done.stderr.rstrip().splitlines()[-1]


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        ("JobContext, RoomOptions", "so import WorkerJob from vsdk_trio, too"),
        ("RoomOptions", "import both from one package, and WorkerJob with them"),
    ],
)
def test_our_classes_under_its_worker_say_what_to_write(
    home: Path, classes: str, said: str
) -> None:
    theirs = ["JobContext", "RoomOptions", "WorkerJob"]
    connect = home.parent / "library" / "videosdk" / "agents" / "job.py"
    asks = "    async def connect(self):\n        self.room_options._resolved_observability()\n"
    connect.write_text(JOB_MODULE.replace("class WorkerJob:", asks + "\nclass WorkerJob:"))
    (home / "agent.py").write_text(
        f"from videosdk.agents import {', '.join(sorted({*theirs} - {*classes.split(', ')}))}\n"
        f"from vsdk_trio import {classes}\n"
        "async def entrypoint(ctx):\n    await ctx.connect()\n"
        "make = lambda: JobContext(room_options=RoomOptions())\n"
        "WorkerJob(entrypoint, jobctx=make).start()\n"
    )
    assert said in run_python(home, "agent.py")


def test_our_decorator_under_its_worker_changes_nothing(home: Path) -> None:
    agent = AGENT.replace(", register=True", "").replace(
        "async def entrypoint", "import vsdk_trio\n@vsdk_trio.aio.entrypoint\nasync def entrypoint"
    )
    (home / "agent.py").write_text(agent + WAYS["guarded"])
    done = subprocess.run(
        [sys.executable, "agent.py"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=home,
        env=clean_environment(surroundings(home)),
    )
    assert done.stdout.splitlines() == ["THE PUBLISHED WORKER RUNS", "acting as Ada {'k': 'v'}"]


# Each file stands beside the agent and has the name of a library that the agent needs.
@pytest.mark.parametrize(
    ("name", "lines", "wanted"),
    [
        ("videosdk.py", "from videosdk.agents import WorkerJob", "videosdk"),
        ("videosdk/__init__.py", "from videosdk import agents", "videosdk"),
        ("orjson.py", "import orjson\norjson.dumps({})", "orjson"),
        ("wsproto.py", "from wsproto import WSConnection", "wsproto"),
        ("colorsys.py", "import colorsys\ncolorsys.rgb_to_hls", "colorsys"),
    ],
)
async def test_a_file_that_hides_a_library_is_named(
    home: Path, name: str, lines: str, wanted: str
) -> None:
    (home / name).parent.mkdir(exist_ok=True)
    (home / name).touch()
    (home / "agent.py").write_text(lines + "\n")
    hiding = home / name.removesuffix("/__init__.py")
    done = await run_cli("run", "agent.py", env=surroundings(home), cwd=home)
    assert done.code == 1
    assert f"{hiding} hides the library '{wanted}' (" in done.err
    assert done.err.endswith("; give it another name\n")
    assert done.err.count("\n") == 1


async def test_an_agent_that_has_the_name_of_what_it_imports(home: Path) -> None:
    (home / "colorsys.py").write_text("from colorsys import rgb_to_hls\n")
    done = await run_cli("run", "colorsys.py", env=surroundings(home), cwd=home)
    assert f"{home / 'colorsys.py'} hides the library 'colorsys'" in done.err


@pytest.mark.parametrize("name", ["trio", "attrs"])
def test_a_file_that_hides_a_library_of_ours_is_named_by_a_script(home: Path, name: str) -> None:
    (home / f"{name}.py").touch()
    (home / "agent.py").write_text("from vsdk_trio import WorkerJob\n")
    assert f"{home / name}.py hides the library '{name}'" in run_python(home, "agent.py")


async def test_what_a_file_hides_is_named_in_the_error_of_a_job(home: Path) -> None:
    (home / "colorsys.py").touch()
    (home / "agent.py").write_text(
        "async def entrypoint(ctx):\n    from colorsys import rgb_to_hls\n"
    )
    done = await run_cli("connect", "agent.py", env=surroundings(home), cwd=home)
    assert done.code == 1
    assert done.err.rstrip().endswith("give it another name")


async def test_an_attribute_that_is_simply_missing_keeps_its_own_words(home: Path) -> None:
    (home / "helper.py").touch()
    (home / "agent.py").write_text("import helper\nhelper.missing\n")
    done = await run_cli("run", "agent.py", env=surroundings(home), cwd=home)
    assert done.err.endswith("AttributeError: module 'helper' has no attribute 'missing'\n")


# Stands for gevent and eventlet, which put functions of their own in place of these.
PATCH = """
import select
def wait(*arguments): ...
wait.__module__ = "gevent.select"
select.select = wait
del select.epoll
"""


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("command", [["agent.py"], ["-m", "vsdk_trio", "run", "agent.py"]])
def test_a_patched_standard_library_is_refused(home: Path, order: str, command: list[str]) -> None:
    (home / "patching.py").write_text(PATCH)
    ours = "from vsdk_trio import WorkerJob"
    lines = ["import patching", ours] if order == "before" else [ours, "import patching"]
    (home / "agent.py").write_text(
        "\n".join([*lines, "async def entrypoint(ctx): ...", "WorkerJob(entrypoint).start()", ""])
    )
    said = run_python(home, *command)
    assert "gevent has replaced parts of the standard library" in said
    assert "without monkey.patch_all()" in said
