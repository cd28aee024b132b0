"""Real job processes, spoken to in frames over real pipes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from vsdk_trio.control.channel import ControlChannel
from vsdk_trio.control.frames import (
    Finished,
    Frame,
    Hello,
    InitFailed,
    JobInfo,
    Joined,
    Ping,
    Pong,
    Ready,
    Running,
    Start,
    Stop,
)
from vsdk_trio.jobs.entrypoint import parse
from vsdk_trio.processes.program import command_line

pytestmark = pytest.mark.real

PATIENCE = 20


@attrs.define
class JobProcess:
    """A real runner, its frames and its stderr."""

    process: trio.Process
    channel: ControlChannel
    stderr: bytearray = attrs.field(factory=bytearray)
    junk: list[str] = attrs.field(factory=list)

    drained: trio.Event = attrs.field(factory=trio.Event)

    async def drain(self, stream: trio.abc.ReceiveStream) -> None:
        async for chunk in stream:
            self.stderr += chunk
        self.drained.set()

    async def next(self) -> Frame:
        return await self.channel.__anext__()

    async def rest(self) -> list[Frame]:
        return [frame async for frame in self.channel]

    async def ready(self) -> Ready:
        frame = await self.next()
        assert isinstance(frame, Ready), (frame, self.stderr.decode())
        return frame

    async def start(self, **keywords: Any) -> None:
        options = {"transport_mode": "loopback"}
        job = JobInfo(job_id="j", room_options=options, **keywords)
        await self.channel.send(Start(job=job.to_dict()))
        assert await self.next() == Running()

    async def eof(self) -> None:
        assert self.process.stdin is not None
        await self.process.stdin.aclose()

    def records(self) -> list[dict[str, Any]]:
        lines = self.stderr.decode().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def plain_lines(self) -> list[str]:
        return [line for line in self.stderr.decode().splitlines() if not line.startswith("{")]


@asynccontextmanager
async def job_process(hello: Hello | None, **environment: str) -> AsyncGenerator[JobProcess, None]:
    """Start one, say hello, and wait for its exit afterwards; kills what does not exit."""
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            process: trio.Process = await nursery.start(
                partial(
                    trio.run_process,
                    [sys.executable, "-W", "error", *command_line("vsdk_trio.runner")[1:]],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    check=False,
                    start_new_session=True,
                    env={**os.environ, **environment},
                )
            )
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stderr is not None
            async with process.stdin, process.stdout, process.stderr:
                junk: list[str] = []
                channel = ControlChannel(process.stdin, process.stdout, on_junk=junk.append)
                job = JobProcess(process, channel, junk=junk)
                nursery.start_soon(job.drain, process.stderr)
                if hello is not None:
                    await channel.send(hello)
                yield job
                await process.wait()
                await job.drained.wait()
    assert job.junk == []


Script = Callable[..., Hello]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Write `app.py`; returns the hello for its `entrypoint`."""

    def write(text: str, *, initialize: str | None = None, **keywords: Any) -> Hello:
        path = tmp_path / "app.py"
        path.write_text("import sys, os, time, trio, logging\n" + textwrap.dedent(text))
        return Hello(
            entrypoint=parse(f"{path}:entrypoint").to_dict(),
            initialize=None if initialize is None else parse(f"{path}:{initialize}").to_dict(),
            **keywords,
        )

    return write


async def test_prints_do_not_reach_the_channel(script: Script) -> None:
    hello = script(
        """
        print("at import")
        os.write(1, b"raw at import\\n")
        async def entrypoint(ctx):
            print("in the job")
            print("no newline", end="")
            os.system("echo from a shell")
            assert sys.stdin.read() == ""
            sys.stdout.write("at the end\\n")
        """
    )
    async with job_process(hello) as job:
        ready = await job.ready()
        assert ready.pid == job.process.pid
        assert 0 < ready.seconds < PATIENCE
        await job.start()
        assert await job.rest() == [Finished(status="completed")]
    assert job.process.returncode == 0
    text = job.stderr.decode()
    for printed in ("at import", "raw at import", "in the job", "from a shell", "at the end"):
        assert printed in text


async def test_log_records_and_warnings_come_as_json(script: Script) -> None:
    hello = script(
        """
        import warnings
        async def entrypoint(ctx):
            logging.getLogger("my.agent").warning("hello %s", "there", extra={"turn": 3})
            logging.getLogger("my.agent").debug("not this")
            logging.getLogger("x").info("the token is %s", ctx.videosdk_auth)
            warnings.simplefilter("always")
            warnings.warn("careful")
            raise ValueError(ctx.videosdk_auth)
        """,
        log_level="INFO",
    )
    async with job_process(hello) as job:
        await job.ready()
        await job.start(token="tok-123456")
        (finished,) = await job.rest()
    assert isinstance(finished, Finished)
    assert str(finished.error).startswith("ValueError: *** (app.py:")
    hello_record, token, warning, failed = job.records()
    assert hello_record["msg"] == "hello there"
    assert hello_record["level"] == "WARNING"
    assert hello_record["logger"] == "my.agent"
    assert hello_record["extra"] == {"turn": 3}
    assert token["msg"] == "the token is ***"
    assert "careful" in warning["msg"]
    assert failed["msg"] == f"the job failed: {finished.error}"
    assert "app.py" in failed["exc"]
    assert b"tok-123456" not in job.stderr


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module' (app.py:"),
        ("1 +", "SyntaxError: "),
        ("sys.exit(2)", "sys.exit(2) (app.py:"),
        ("sys.exit(0)", "sys.exit(0)"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt (app.py:"),
        ("entrypoint = None", "EntrypointError: "),
        ("trio.run(trio.sleep, -1)", "ValueError: "),
    ],
)
async def test_a_script_that_cannot_be_loaded(script: Script, text: str, error: str) -> None:
    async with job_process(script(text)) as job:
        (failed,) = await job.rest()
    assert isinstance(failed, InitFailed)
    assert failed.error.startswith(error)
    assert job.process.returncode == 1
    assert job.records()[-1]["msg"] == "the entrypoint cannot be loaded"


async def test_a_script_without_the_function_says_so(script: Script, tmp_path: Path) -> None:
    async with job_process(script("")) as job:
        (failed,) = await job.rest()
    assert isinstance(failed, InitFailed)
    assert f"{tmp_path}/app.py was loaded, but has no 'entrypoint'" in failed.error


@pytest.mark.parametrize("how", ["eof", "stop", "sigterm", "sigint", "sighup"])
async def test_polite_ends_run_the_callbacks(script: Script, how: str, tmp_path: Path) -> None:
    hello = script(
        """
        async def clean_up(reason):
            await trio.sleep(0.05)
            open("said", "w").write(reason)
        async def entrypoint(ctx):
            os.chdir(os.path.dirname(__file__))
            ctx.add_shutdown_callback(clean_up)
            await trio.sleep_forever()
        """
    )
    async with job_process(hello) as job:
        await job.ready()
        await job.start()
        await job.channel.send(Ping(seq=1))
        pong = await job.next()
        assert isinstance(pong, Pong)
        if how == "eof":
            await job.eof()
        elif how == "stop":
            await job.channel.send(Stop(reason="please"))
        else:  # not from the worker, which asks before it signals
            job.process.send_signal(signal.Signals[how.upper()])
            await job.channel.send(Ping(seq=2))
            assert isinstance(await job.next(), Pong)
            await job.channel.send(Stop(reason="please"))
        reason = "the worker is gone" if how == "eof" else "please"
        assert await job.rest() == [Finished(status="cancelled", error=reason)]
    assert job.process.returncode == 0
    assert (tmp_path / "said").read_text() == reason


@pytest.mark.parametrize("when", ["before hello", "idle"])
async def test_eof_without_a_job_ends_it_silently(script: Script, when: str) -> None:
    hello = script("async def entrypoint(ctx): ...")
    async with job_process(None if when == "before hello" else hello) as job:
        if when == "idle":
            await job.ready()
        await job.eof()
        assert await job.rest() == []
    assert job.process.returncode == 0
    assert job.stderr == b""


async def test_a_stop_instead_of_hello(script: Script) -> None:
    async with job_process(None) as job:
        assert job.process.stdin is not None
        await job.process.stdin.send_all(b"Welcome to this host!\n")
        await job.channel.send(Ping(seq=1))
        await job.channel.send(Stop())
        assert await job.rest() == []
    assert job.process.returncode == 0
    assert [record["msg"] for record in job.records()] == [
        "ignored a line before the first frame: not a line of JSON",
        "ignored a Ping frame before the first Hello",
    ]


async def test_a_line_that_never_ends_costs_no_memory() -> None:
    async with job_process(None) as job:
        assert job.process.stdin is not None
        await job.process.stdin.send_all(b"x" * (9 << 20))
        await job.eof()
        assert await job.rest() == []
    assert job.process.returncode == 0


@pytest.mark.parametrize(
    ("line", "code"), [("os._exit(7)", 7), ("os.kill(os.getpid(), signal.SIGKILL)", -9)]
)
async def test_a_process_that_just_ends_says_nothing(script: Script, line: str, code: int) -> None:
    hello = script(f"import signal\nasync def entrypoint(ctx):\n    {line}")
    async with job_process(hello) as job:
        await job.ready()
        await job.start()
        assert await job.rest() == []
    assert job.process.returncode == code


@pytest.mark.parametrize(
    ("code", "finished"),
    [
        ("0", Finished(status="completed")),
        ("3", Finished(status="failed", error="sys.exit(3)")),
    ],
)
async def test_sys_exit_in_a_job(script: Script, code: str, finished: Finished) -> None:
    hello = script(f"async def entrypoint(ctx):\n    sys.exit({code})")
    async with job_process(hello) as job:
        await job.ready()
        await job.start()
        (frame,) = await job.rest()
    assert isinstance(frame, Finished)
    assert frame.status == finished.status
    assert (frame.error or "").split(" (")[0] == (finished.error or "")
    assert job.process.returncode == 0


REFERENCE_SCRIPT = """
from vsdk_trio.options import Options
from vsdk_trio.options.room import RoomOptions
from vsdk_trio.runner.job_context import JobContext
from vsdk_trio.worker_job import WorkerJob

options = Options(agent_id="MyAgent", max_processes=5, register=True)
room_options = RoomOptions(name="My Agent", on_room_error=print, avatar="face")
job_context = JobContext(room_options=room_options)

async def entrypoint(ctx: JobContext):
    await ctx.connect()
    assert ctx.room_options.avatar == "face"
    assert ctx.room_options.on_room_error is print

job = WorkerJob(entrypoint=entrypoint, jobctx=lambda: job_context, options=options)
job.start()
print("start has returned")
"""


async def test_the_references_script_with_its_unguarded_start(script: Script) -> None:
    hello = attrs.evolve(script(REFERENCE_SCRIPT), live_options=True)
    async with job_process(hello) as job:
        ready = await job.ready()
        assert ready.recorded
        await job.start()
        joined = await job.next()
        assert isinstance(joined, Joined)
        assert await job.rest() == [Finished(status="completed")]
    assert job.plain_lines() == ["start has returned"]


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
async def test_a_job_of_an_unguarded_script_can_use_multiprocessing(
    script: Script, method: str
) -> None:
    hello = script(
        f"""
        import multiprocessing
        from vsdk_trio import JobContext, Options, WorkerJob

        def double(pipe, number):
            pipe.send(2 * number)

        async def entrypoint(ctx: JobContext):
            context = multiprocessing.get_context({method!r})
            ours, theirs = context.Pipe()
            child = context.Process(target=double, args=(theirs, 21))
            child.start()
            assert ours.poll(15), "no answer"
            assert ours.recv() == 42
            child.join()
            assert child.exitcode == 0

        for register in (False, True):
            WorkerJob(entrypoint, options=Options(register=register, port=0)).start()
        print("loaded as", __name__)
        """
    )
    async with job_process(hello, PYTHONWARNINGS="") as job:
        await job.ready()
        await job.start()
        assert await job.rest() == [Finished(status="completed")]
    assert set(job.plain_lines()) == {"loaded as __mp_main__"}
    assert len(job.plain_lines()) == 2


async def test_files_where_the_worker_was_started_do_not_shadow_modules(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hello = script("import random\nasync def entrypoint(ctx): ...")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("attr", "trio", "json", "random", "logging"):
        (elsewhere / f"{name}.py").write_text("raise RuntimeError('not the one that was meant')")
    hello.entrypoint["cwd"] = str(elsewhere)
    hello.entrypoint["sys_path"].remove(os.getcwd())
    monkeypatch.chdir(elsewhere)
    async with job_process(hello) as job:
        await job.ready()
        await job.start()
        assert await job.rest() == [Finished(status="completed")]


async def test_what_the_program_does_at_its_exit_is_done(script: Script) -> None:
    hello = script(
        """
        import atexit, threading
        atexit.register(print, "at exit")
        async def entrypoint(ctx):
            threading.Timer(0.05, print, ["from a thread"]).start()
        """
    )
    async with job_process(hello) as job:
        await job.ready()
        await job.start()
        await job.rest()
    assert job.process.returncode == 0
    assert job.plain_lines() == ["from a thread", "at exit"]


@pytest.mark.parametrize(
    ("guarded", "recorded"), [("job.start()", True), ("job = WorkerJob(", False)]
)
async def test_what_is_guarded_is_not_recorded(
    script: Script, guarded: str, recorded: bool
) -> None:
    """A job that is built at the top level is known, also where only its start is guarded."""
    before, _, after = REFERENCE_SCRIPT.partition(guarded)
    rest = textwrap.indent((guarded + after).partition("print(")[0], "    ")
    async with job_process(script(f"{before}if __name__ == '__main__':\n{rest}")) as job:
        ready = await job.ready()
        assert ready.recorded is recorded
        await job.channel.send(Stop())
        await job.rest()


async def test_initialize_runs_before_ready_and_shares_its_data(script: Script) -> None:
    hello = script(
        """
        def prepare(process):
            process.userdata["pid"] = process.pid
        async def entrypoint(ctx):
            assert ctx.process.userdata == {"pid": os.getpid()}
            import __main__
            assert __main__.entrypoint is entrypoint
            assert __main__.entrypoint.__globals__ is vars(__main__)
            assert sys.argv == [__file__]
        """,
        initialize="prepare",
    )
    async with job_process(hello) as job:
        await job.ready()
        await job.start()
        assert await job.rest() == [Finished(status="completed")], job.stderr.decode()


async def test_the_cookie_reaches_the_jobs_children(script: Script) -> None:
    hello = script(
        """
        async def entrypoint(ctx):
            await trio.run_process([sys.executable, "-c",
                "import os; print(os.environ['VSDK_TRIO_COOKIE'])"])
        """,
        cookie="c00kie",
    )
    environment = {"VSDK_TRIO_COOKIE": "inherited"}
    for expected, extra in (("c00kie", {}), ("inherited", environment)):
        async with job_process(hello, **extra) as job:
            await job.ready()
            await job.start()
            assert await job.rest() == [Finished(status="completed")]
        assert expected in job.stderr.decode()


async def test_the_channel_is_not_inherited_by_the_jobs_children(script: Script) -> None:
    hello = script(
        """
        import subprocess
        async def entrypoint(ctx):
            subprocess.Popen(["sleep", "30"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        """
    )
    async with job_process(hello) as job:
        await job.ready()
        await job.start()
        # EOF comes although the grandchild lives on.
        assert await job.rest() == [Finished(status="completed")]
        await job.process.wait()
        os.killpg(job.process.pid, signal.SIGKILL)


FORBIDDEN = """
asyncio cattrs orjson trio_websocket wsproto httpcore httpx starlette hypercorn typer rich psutil
certifi urllib.request vsdk_trio.backend vsdk_trio.worker vsdk_trio.registry vsdk_trio.processes
vsdk_trio.protocol vsdk_trio.status vsdk_trio.cli
"""


async def test_a_job_process_starts_light(script: Script) -> None:
    hello = script(
        REFERENCE_SCRIPT.replace("await ctx.connect()", "import sys; print(*sys.modules)")
    )
    async with job_process(hello) as job:
        await job.ready()
        await job.start()
        await job.rest()
    loaded = set(job.plain_lines()[-1].split())
    assert "vsdk_trio.runner.process" in loaded
    assert loaded.isdisjoint(FORBIDDEN.split())
