"""`run` and `connect` take the user's file as it is, and say what is wrong with it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import trio

from vsdk_trio.registry.core import Registry
from vsdk_trio.registry.ledger import DispatchRequest, LedgerState
from vsdk_trio.registry.server import open_registry

from .conftest import open_cli, run_cli

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("unmeasured")]

FUNCTION = """
async def act(ctx):
    await ctx.connect()
    print("acting as", ctx.room_options.name, ctx.metadata, flush=True)
    if "boom" in ctx.metadata:
        raise ValueError("boom")
"""
JOB = """
from vsdk_trio import JobContext, Options, RoomOptions, WorkerJob
def make_context():
    return JobContext(room_options=RoomOptions(name="Given"))
def make_job():
    options = Options(agent_id="own", max_processes=7, register=True)
    return WorkerJob(entrypoint=act, jobctx=make_context, options=options)
"""
STARTED = FUNCTION + JOB + "job = make_job()\njob.start()\n"
GUARDED = FUNCTION + JOB + 'if __name__ == "__main__":\n    make_job().start()\n'
TWO_JOBS = FUNCTION + JOB + "first = make_job()\nsecond = make_job()\n"
PLAIN = FUNCTION.replace("act(", "entrypoint(") + "async def other(ctx): pass\n"


@pytest.mark.parametrize(
    ("source", "target", "name", "agent_id", "slots"),
    [
        (STARTED, "agent.py", "Given", "own", 7),
        (STARTED, "agent.py:job", "Given", "own", 7),
        (STARTED, "agent:act", "Given", "own", 7),
        (GUARDED, "agent.py", "Given", "own", 7),
        (GUARDED, "agent", "Given", "own", 7),
        (GUARDED, "agent.py:act", "Agent", "VideoSDKAgent", 1),
        (TWO_JOBS, "agent.py:second", "Given", "own", 7),
        (PLAIN, "agent.py", "Agent", "VideoSDKAgent", 1),
    ],
)
async def test_an_agent_serves_as_it_is(
    tmp_path: Path, source: str, target: str, name: str, agent_id: str, slots: int
) -> None:
    (tmp_path / "agent.py").write_text(source)
    async with open_registry(Registry()) as running:
        env = {
            "VSDK_TRIO_SIGNALING_BASE_URL": running.url,
            "VSDK_TRIO_TRANSPORT": "loopback",
            "VIDEOSDK_AUTH_TOKEN": "local",
        }
        async with open_cli("run", target, "--port", "0", env=env, cwd=tmp_path) as worker:
            await worker.read_until("registered with the registry")
            (seen,) = running.registry.workers()
            assert (seen.agent_id, seen.capacity) == (agent_id, slots)
            job = await running.registry.dispatch(DispatchRequest(agent_id=agent_id, room_id="r"))
            with trio.fail_after(30):
                ended = await running.registry.wait_ended(job.job_id)
            assert ended.state is LedgerState.COMPLETED, ended
            await worker.read_until(f"acting as {name}")
            worker.process.send_signal(signal.SIGINT)
            assert await worker.end() == 0
            assert "Traceback" not in worker.text


async def test_flags_win_over_the_environment_and_both_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(STARTED)
    async with open_registry(Registry(auth_token="s3cret")) as running:
        env = {
            "VSDK_TRIO_BACKEND_URL": running.url,
            "VSDK_TRIO_AGENT_ID": "environment",
            "VSDK_TRIO_MAX_PROCESSES": "5",
            "VSDK_TRIO_AUTH_TOKEN": "s3cret",
            "VSDK_TRIO_PORT": "0",
        }
        args = ("run", "agent.py", "--max-processes", "3")
        async with open_cli(*args, env=env, cwd=tmp_path) as worker:
            await worker.read_until("registered with the registry")
            (seen,) = running.registry.workers()
            assert (seen.agent_id, seen.capacity) == ("environment", 3)
            worker.process.send_signal(signal.SIGTERM)
            assert await worker.end() == 0


@pytest.mark.parametrize(
    ("source", "target", "code", "said"),
    [
        ("", "agnt.py", 2, "there is no file agnt.py; did you mean agent.py?"),
        ("", "no.such", 2, "there is no module 'no.such' in "),
        ("import nosuch\n", "agent.py", 1, "ModuleNotFoundError: No module named 'nosuch'"),
        ("import nosuch\n", "agent", 1, "ModuleNotFoundError: No module named 'nosuch'"),
        ("x = (\n", "agent.py", 1, "SyntaxError: '(' was never closed"),
        ("", "agent.py", 2, "makes no WorkerJob, and has no `async def entrypoint(ctx)`\n"),
        (FUNCTION, "agent.py", 2, "name its entrypoint: agent.py:act\n"),
        (FUNCTION, "agent.py:at", 2, "agent.py has no 'at'\n"),
        (FUNCTION, "agent.py:act:x", 2, "expected MODULE:FUNCTION or FILE.py:FUNCTION"),
        ("x = 3\n", "agent.py:x", 2, "entrypoint must be an `async def` function"),
        (TWO_JOBS, "agent.py", 2, "2 WorkerJobs; name one: agent.py:first or agent.py:second\n"),
    ],
)
async def test_what_is_wrong_with_a_file(
    tmp_path: Path, source: str, target: str, code: int, said: str
) -> None:
    (tmp_path / "agent.py").write_text(source)
    done = await run_cli("run", target, cwd=tmp_path)
    assert (done.code, done.out) == (code, ""), done
    assert said in done.err
    assert done.err.startswith("vsdk-trio: ")
    assert "site-packages" not in done.err  # the user's own lines, and no others
    assert "vsdk_trio/" not in done.err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--max-processes", "x"), "--max-processes must be a number (int), got 'x'"),
        (("--max-processes", "0"), "option 'max_processes' must be an integer of at least 1"),
        (("--permissions", '{"hiden": true}'), "did you mean 'hidden'?"),
        (("--load-fnc", "nowhere"), "--load-fnc must name a function"),
    ],
)
async def test_a_wrong_flag_is_a_usage_error(
    tmp_path: Path, args: tuple[str, ...], said: str
) -> None:
    (tmp_path / "agent.py").write_text(STARTED)
    done = await run_cli("run", "agent.py", *args, cwd=tmp_path)
    assert done.code == 2
    assert said in done.err


async def test_a_wrong_variable_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(STARTED)
    env = {"VSDK_TRIO_MAX_PROCESES": "3"}
    done = await run_cli("run", "agent.py", cwd=tmp_path, env=env)
    assert done.code == 2
    assert "did you mean 'VSDK_TRIO_MAX_PROCESSES'?" in done.err


async def test_one_job_here_and_now(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(GUARDED)
    (tmp_path / "options.json").write_text('{"name": "Filed", "vision": true}')
    loopback = ("--transport-mode", "loopback")
    connect = ("connect", "agent.py", "--room", "r-1", *loopback)
    done = await run_cli(*connect, "--metadata", '{"a": 1}', cwd=tmp_path)
    assert (done.code, done.out) == (0, "acting as Given {'a': 1}\n"), done
    done = await run_cli(*connect, "--room-options", "options.json", cwd=tmp_path)
    assert done.out == "acting as Filed {}\n"
    args = ("--room-options", "options.json", "--name", "Flagged")
    done = await run_cli(*connect, *args, cwd=tmp_path)
    assert done.out == "acting as Flagged {}\n"


async def test_what_the_entrypoint_raises_is_shown_without_our_own_lines(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(GUARDED)
    args = ("--transport-mode", "loopback", "--metadata", '{"boom": 1}')
    done = await run_cli("connect", "agent.py", *args, cwd=tmp_path)
    assert done.code == 1
    assert done.err.endswith("ValueError: boom\n")
    assert "vsdk_trio/" not in done.err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--metadata", "{"), "--metadata is not JSON"),
        (("--metadata", "[]"), "--metadata must be a JSON object, not list"),
        (("--room-options", "options.json"), 'there is no room option "nam"'),
        (("--transport-mode", "pigeon"), "must be one of videosdk, websocket, webrtc, loopback"),
    ],
)
async def test_a_job_that_cannot_be_described(
    tmp_path: Path, args: tuple[str, ...], said: str
) -> None:
    (tmp_path / "agent.py").write_text(GUARDED)
    (tmp_path / "options.json").write_text('{"nam": "x"}')
    done = await run_cli("connect", "agent.py", *args, cwd=tmp_path)
    assert done.code == 2
    assert said in done.err
