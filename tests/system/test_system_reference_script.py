"""The agent of the reference's documentation, with only its import changed, as a program."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import trio

from vsdk_trio.registry.ledger import DispatchRequest

from ..start_methods import start_method, templates
from .conftest import Program, System, eventually, open_system

pytestmark = pytest.mark.real

# `more` is what a test needs to stay on this machine; `body` is "Your agent logic here".
SCRIPT = """
from vsdk_trio import WorkerJob, Options, JobContext, RoomOptions

# Configure worker options
options = Options(
    agent_id="MyAgent",
    max_processes=5,
    register={register},  # Registers worker with backend for job scheduling
    {more}
)

# Set up room configuration
room_options = RoomOptions(
    name="My Agent",
)

# Create job context
job_context = JobContext(room_options=room_options)

# Define your agent entrypoint
async def your_agent_function(ctx: JobContext):
    # Your agent logic here
    await ctx.connect()
    {body}

# Create and start the worker job
job = WorkerJob(
    entrypoint=your_agent_function,
    jobctx=lambda: job_context,
    options=options,
)

job.start()
print("after start")
"""
STAYS = """
    import trio

    async def note(text):
        async with await trio.open_file("notes.txt", "a") as file:
            await file.write(f"- {text}\\n")

    async def goodbye(reason):
        await note(f"callback: {reason}")

    ctx.add_shutdown_callback(goodbye)
    await note(f"joined {ctx.room.room_id} as {ctx.room.name}")
    await trio.sleep_forever()
"""
LAUNCHES = ("script", "module")


async def start(
    system: System, launch: str, *, register: bool, body: str = "pass", more: str = ""
) -> Program:
    package = system.directory / "pkg"
    package.mkdir()
    (package / "__init__.py").touch()
    if register:
        more += f"signaling_base_url={system.url!r}, host='127.0.0.1', port=0,"
        more += f"start_method={start_method()!r},"
    text = SCRIPT.format(register=register, body=body.strip(), more=more)
    (package / "app.py").write_text(text, encoding="utf-8")
    argv = ["-m", "pkg.app"] if launch == "module" else [str(package / "app.py")]
    environ = {"VSDK_TRIO_TRANSPORT": "loopback", "VIDEOSDK_AUTH_TOKEN": "worker-token"}
    return await system.start(*argv, env=environ)


@pytest.mark.parametrize("launch", LAUNCHES)
async def test_direct_mode_runs_at_once(tmp_path: Path, launch: str) -> None:
    async with open_system(tmp_path) as system:
        program = await start(system, launch, register=False)
        assert await program.exit_code() == 0, program.output
        assert program.output.endswith("after start\n")
        assert "Traceback" not in program.output
        assert system.registry.frames == []


@pytest.mark.parametrize("launch", LAUNCHES)
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
async def test_direct_mode_ends_in_order(
    tmp_path: Path, launch: str, signum: signal.Signals
) -> None:
    async with open_system(tmp_path) as system:
        program = await start(system, launch, register=False, body=STAYS)
        await eventually(system.notes, "not begun")
        program.signal(signum)
        assert await program.exit_code() == 0, program.output
        joined, callback = system.notes()
        assert joined.endswith(" as My Agent")
        assert callback == f"callback: received {signum.name}"
        assert program.output.endswith("after start\n")
        assert "Traceback" not in program.output


async def test_direct_mode_fails_loudly(tmp_path: Path) -> None:
    async with open_system(tmp_path) as system:
        program = await start(system, "script", register=False, body="raise ValueError('a bug')")
        assert await program.exit_code() == 1
        assert program.output.endswith("ValueError: a bug\n")


@pytest.mark.usefixtures("each_start_method")
@pytest.mark.parametrize("launch", LAUNCHES)
async def test_registered_it_serves_until_it_is_stopped(tmp_path: Path, launch: str) -> None:
    async with open_system(tmp_path) as system:
        program = await start(system, launch, register=True)
        await eventually(system.registry.workers, "no worker")
        for number in range(2):
            with trio.fail_after(20):
                request = DispatchRequest(agent_id="MyAgent", room_id=f"room-{number}")
                job = await system.registry.dispatch(request)
            assert (await system.end_of(job.job_id)).state.value == "completed"
        assert program.process.poll() is None
        program.signal(signal.SIGTERM)
        assert await program.exit_code() == 0, program.output
        assert program.output.endswith("after start\n")
        # What has loaded the script has gone on after its `start()`: each job process, or the
        # template of all of them.
        told = program.output.count('"message":"after start"')
        assert told == 1 if templates() else told >= 2
        assert system.processes() == []


@pytest.mark.parametrize("launch", LAUNCHES)
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
async def test_registered_it_ends_in_order(
    tmp_path: Path, launch: str, signum: signal.Signals
) -> None:
    async with open_system(tmp_path) as system:
        more = "drain_timeout=0.3,"
        program = await start(system, launch, register=True, body=STAYS, more=more)
        await eventually(system.registry.workers, "no worker")
        with trio.fail_after(20):
            request = DispatchRequest(agent_id="MyAgent", room_id="room-1")
            job = await system.registry.dispatch(request)
        await eventually(system.notes, "not begun")
        program.signal(signum)
        job = await system.end_of(job.job_id)
        assert (job.state.value, job.error) == ("cancelled", "worker is shutting down")
        assert await program.exit_code() == 0, program.output
        assert system.notes() == [
            "joined room-1 as My Agent",
            "callback: worker is shutting down",
        ]
        await eventually(lambda: system.registry.story()[-1] == "closed", "no goodbye")
        assert system.registry.story()[-2] == "offline"
        assert system.processes() == []
