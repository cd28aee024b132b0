"""Objects of the published package, handed to our classes: read field by field."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

sys.path.insert(0, str(Path(__file__).parent))

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what it imports is not ours to mend
    from registry_process import TOKEN, running_registry
    from videosdk import agents

import vsdk_trio
from vsdk_trio.backend.token import TokenProvider

pytestmark = pytest.mark.filterwarnings("default")  # its warnings are not ours to forbid


async def entrypoint(ctx: object) -> None:
    """Known by its name."""


def test_its_options_are_read() -> None:
    given = agents.Options(agent_id="theirs", max_processes=3, auth_token="t", register=True)
    own = vsdk_trio.WorkerJob(entrypoint, options=given).options
    assert (own.agent_id, own.max_processes, own.auth_token, own.register) == (
        "theirs",
        3,
        "t",
        True,
    )
    assert own.permissions == vsdk_trio.WorkerPermissions()


def test_a_token_that_it_has_signed_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDEOSDK_API_KEY", "key")
    monkeypatch.setenv("VIDEOSDK_SECRET_KEY", "a secret of thirty-two characters")
    monkeypatch.setenv("VIDEOSDK_AUTH_TOKEN", "")  # put back at the end, as the package sets it
    given = agents.Options()
    assert given.auth_token
    assert os.environ["VIDEOSDK_AUTH_TOKEN"] == given.auth_token
    own = vsdk_trio.WorkerJob(entrypoint, options=given).options
    assert own.auth_token is None
    token = trio.run(TokenProvider(own.auth_token).get)
    assert token != given.auth_token


def test_our_options_have_all_that_its_worker_reads() -> None:
    theirs = {field.name for field in dataclasses.fields(agents.Options)}
    assert theirs <= attrs.fields_dict(vsdk_trio.Options).keys()
    job = agents.WorkerJob(entrypoint, options=vsdk_trio.Options(agent_id="ours"))
    for name in theirs:
        assert hasattr(job.options, name)
    # Where it asks which executor to use, the words are the same.
    assert job.options.executor_type.value == agents.Options().executor_type.value


def test_its_default_room_options_are_our_defaults() -> None:
    own = vsdk_trio.JobContext(room_options=agents.RoomOptions()).room_options
    assert own == vsdk_trio.RoomOptions()


@pytest.fixture
def an_event_loop() -> Iterator[None]:
    """The package's context wants one; a test that ran asyncio before has unset the default."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()


def test_its_context_is_read(an_event_loop: None) -> None:
    socket = agents.WebSocketConfig(port=9)
    room = agents.RoomOptions(name="Ada", transport_mode="websocket", websocket=socket)
    job = vsdk_trio.WorkerJob(
        entrypoint, jobctx=lambda: agents.JobContext(room_options=room, metadata={"k": "v"})
    )
    own = job.context()
    assert (own.room_options.name, own.metadata) == ("Ada", {"k": "v"})
    assert own.room_options.transport_mode is vsdk_trio.TransportMode.WEBSOCKET
    assert own.room_options.websocket == vsdk_trio.WebSocketConfig(port=9)


UNMODIFIED = """
import asyncio
from videosdk.agents import JobContext, Options, RoomOptions, WorkerJob

async def entrypoint(ctx: JobContext):
    assert isinstance(ctx, JobContext)
    await asyncio.sleep(0)
    ctx.metadata["seen"].encode()
    assert ctx.permissions.can_publish and ctx.process.pid and ctx.job.job_id

def make_context():
    return JobContext(room_options=RoomOptions(name="Ada", playground=False))

if __name__ == "__main__":
    options = Options(agent_id="theirs", max_processes=2, register=True)
    WorkerJob(entrypoint=entrypoint, jobctx=make_context, options=options).start()
"""


def until(look: Any) -> Any:
    deadline = time.monotonic() + 40
    while not (found := look()):
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.05)
    return found


@pytest.mark.real
def test_an_agent_without_any_change_runs_under_our_worker(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(UNMODIFIED)
    with running_registry() as registry:
        env = os.environ | {
            "VSDK_TRIO_SIGNALING_BASE_URL": registry.url,
            "VIDEOSDK_AUTH_TOKEN": TOKEN,
            "VSDK_TRIO_PORT": "0",
        }
        command = [sys.executable, "-m", "vsdk_trio", "run", "agent.py"]
        with subprocess.Popen(command, cwd=tmp_path, env=env) as worker:
            until(lambda: registry.call("GET", "/v2/agent/workers")[1]["workers"])
            body = {"agentId": "theirs", "meetingId": "r", "metadata": {"seen": "here"}}
            _, answer = registry.call("POST", "/v2/agent/dispatch", body)
            job_id = answer["data"]["jobId"]
            until(lambda: registry.job(job_id)["status"] in ("completed", "failed"))
            worker.send_signal(signal.SIGINT)
            assert worker.wait(timeout=40) == 0
        job = registry.job(job_id)
    assert job["status"] == "completed", job


LOOPS = {
    "uvloop": "import uvloop\nuvloop.install()",
    "nest_asyncio": "import nest_asyncio\nnest_asyncio.apply()",
}


@pytest.mark.real
@pytest.mark.parametrize("name", LOOPS)
def test_another_event_loop_does_no_harm(name: str, tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(
        f"import warnings\nwarnings.simplefilter('ignore')\n{LOOPS[name]}\n"
        "import asyncio, vsdk_trio\n"
        "@vsdk_trio.aio.entrypoint\n"
        "async def entrypoint(ctx):\n"
        "    await ctx.connect()\n"
        "    print('RAN', await asyncio.wait_for(asyncio.sleep(0, 7), 5))\n"
        "vsdk_trio.WorkerJob(entrypoint).start()\n"
    )
    env = os.environ | {"VSDK_TRIO_TRANSPORT": "loopback"}
    done = subprocess.run(
        [sys.executable, "agent.py"],
        cwd=tmp_path,
        env=env,
        check=False,
        capture_output=True,
        text=True,
        timeout=40,
    )
    assert (done.returncode, done.stdout) == (0, "RAN 7\n"), done


@pytest.mark.real
def test_gevent_is_refused_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(
        "from gevent import monkey\nmonkey.patch_all()\nfrom vsdk_trio import WorkerJob\n"
        "async def entrypoint(ctx): ...\nWorkerJob(entrypoint).start()\n"
    )
    for command in ([], ["-m", "vsdk_trio", "run"]):
        done = subprocess.run(
            [sys.executable, *command, "agent.py"],
            cwd=tmp_path,
            check=False,
            capture_output=True,
            text=True,
            timeout=40,
        )
        assert done.returncode == 1
        assert "gevent has replaced parts of the standard library" in done.stderr.splitlines()[-1]


EARLY = """
from videosdk.agents import JobContext, Options, RoomOptions, WorkerJob

job_context = JobContext(room_options=RoomOptions(name="Ada", playground=False))

async def entrypoint(ctx: JobContext):
    assert ctx is not job_context and ctx.room_options.name == "Ada"

options = Options(agent_id="early", max_processes=2, register=True)
WorkerJob(entrypoint=entrypoint, jobctx=lambda: job_context, options=options).start()
"""


@pytest.mark.real
def test_a_context_that_is_made_as_the_script_is_loaded_opens_no_event_loop(tmp_path: Path) -> None:
    """As its documentation has it. With a loop of its own, job processes could not be forked."""
    (tmp_path / "agent.py").write_text(EARLY)
    with running_registry() as registry:
        env = os.environ | {
            "VSDK_TRIO_SIGNALING_BASE_URL": registry.url,
            "VIDEOSDK_AUTH_TOKEN": TOKEN,
            "VSDK_TRIO_PORT": "0",
            "VSDK_TRIO_LOG_FORMAT": "console",
        }
        command = [sys.executable, "-m", "vsdk_trio", "run", "agent.py"]
        log = tmp_path / "log"
        with (
            log.open("w") as file,
            subprocess.Popen(command, cwd=tmp_path, env=env, stderr=file) as worker,
        ):
            until(lambda: "template: ready after" in log.read_text())
            body = {"agentId": "early", "meetingId": "r"}
            until(lambda: registry.call("GET", "/v2/agent/workers")[1]["workers"])
            _, answer = registry.call("POST", "/v2/agent/dispatch", body)
            job_id = answer["data"]["jobId"]
            until(lambda: registry.job(job_id)["status"] in ("completed", "failed"))
            worker.send_signal(signal.SIGINT)
            assert worker.wait(timeout=40) == 0
        job = registry.job(job_id)
    assert job["status"] == "completed", job
    assert "started afresh" not in log.read_text()
