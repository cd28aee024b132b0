"""Jobs forked from a real template: what the job finds, and what happens when it cannot be."""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest
import trio

from vsdk_trio.control.frames import Finished
from vsdk_trio.errors import JobProcessError
from vsdk_trio.forkserver.spawner import Forkserver

from .agents import RUNNER, Agent, until
from .forking import CountingSpawner

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("nothing_left")]
DONE = Finished(status="completed")
PLAIN = "async def entrypoint(ctx): note('ran', os.getpid(), os.getppid())"


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    agent = Agent(tmp_path)
    agent.write(PLAIN)
    return agent


def spawned(forkserver: Forkserver) -> int:
    fallback = forkserver._fallback
    assert isinstance(fallback, CountingSpawner)
    return fallback.started


def template_of(forkserver: Forkserver) -> psutil.Process:
    assert forkserver._template is not None
    return psutil.Process(forkserver._template.pid)


async def test_jobs_are_children_of_the_template_and_load_nothing(agent: Agent) -> None:
    async with agent.forkserver() as forkserver:
        for _ in range(3):
            assert await agent.run_job(forkserver) == DONE
        template = template_of(forkserver).pid
    assert agent.noted("loaded") == [str(template)]
    assert [ran.split()[1] for ran in agent.noted("ran")] == [str(template)] * 3
    assert len({ran.split()[0] for ran in agent.noted("ran")}) == 3
    assert not psutil.pid_exists(template)


async def test_a_job_shows_itself_as_one(agent: Agent) -> None:
    """Its cookie and its command line, not the template's; and so does what it forks."""
    agent.write("""
        async def entrypoint(ctx):
            if not (pid := os.fork()):
                os.setsid()
                time.sleep(600)
            note("daemon", pid)
            await trio.sleep_forever()
        """)
    async with agent.forkserver() as forkserver, agent.process(forkserver) as process:
        await agent.give_job(process)
        (daemon,) = await until(lambda: agent.noted("daemon"), "no daemon")
        for pid in (process.pid, int(daemon)):
            shown = psutil.Process(pid)
            assert shown.environ()["VSDK_TRIO_COOKIE"] == process.cookie
            assert [word for word in shown.cmdline() if word] == list(RUNNER)
        template = template_of(forkserver).environ()
        assert template["VSDK_TRIO_COOKIE"].startswith(f"agent-{os.getpid()}.template-1..")
        assert psutil.Process(process.pid).environ().keys() == template.keys()
        os.kill(int(daemon), signal.SIGKILL)


async def test_it_gets_the_environment_of_the_moment(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent.write(
        "async def entrypoint(ctx):"
        " note('found', ascii(os.environ['A']), os.environ.get('B'), os.environ['C'], os.getcwd())"
    )
    for name in "ABC":
        monkeypatch.setenv(name, "before")
    async with agent.forkserver() as forkserver:
        assert await agent.run_job(forkserver) == DONE
        monkeypatch.setenv("A", "after \udce4")
        monkeypatch.delenv("B")
        assert await agent.run_job(forkserver) == DONE
        assert spawned(forkserver) == 0
    first, second = agent.noted("found")
    assert first.startswith("'before' before before ")
    assert second.startswith("'after \\udce4' None before ")


async def test_random_generators_differ(agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "numpy").mkdir()
    (tmp_path / "numpy" / "__init__.py").touch()
    (tmp_path / "numpy" / "random.py").write_text("state = [1]\ndef seed(): state.clear()\n")
    agent.write("""
        import uuid, numpy.random
        random.seed(1)
        async def entrypoint(ctx):
            note("random", random.random())
            note("uuid", uuid.uuid4())
            note("numpy", numpy.random.state)
        """)
    async with agent.forkserver() as forkserver:
        for _ in range(5):
            assert await agent.run_job(forkserver) == DONE
        assert spawned(forkserver) == 0
    assert len(set(agent.noted("random"))) == 5
    assert len(set(agent.noted("uuid"))) == 5
    assert agent.noted("numpy") == ["[]"] * 5


async def test_the_end_is_that_of_an_interpreter(agent: Agent) -> None:
    """Threads are waited for, `atexit` runs, what is buffered is written: once."""
    agent.write("""
        early = open(HERE / "early", "w")
        early.write("x")                       # in the buffer that every fork gets a copy of
        sys.stdout.write("at import, ")        # the same
        atexit.register(note, "atexit registered at import")
        late = []
        def slow():
            time.sleep(0.2)
            note("thread done")
        async def entrypoint(ctx):
            late.append(open(HERE / f"late-{os.getpid()}", "w"))
            late[0].write("left open")
            atexit.register(note, "atexit registered by the job")
            threading.Thread(target=slow).start()
            sys.stdout.write("no newline")
        """)
    async with agent.forkserver() as forkserver:
        for _ in range(2):
            async with agent.process(forkserver) as process:
                await agent.give_job(process)
                await process.exited.wait()
            assert process.exit.returncode == 0
            assert process.exit.stderr_tail == ("no newline",)
            late = agent.directory / f"late-{process.pid}"
            assert late.read_text() == "left open"
    ends = [n for n in agent.notes() if n.startswith(("thread", "atexit"))]
    one = ["thread done", "atexit registered by the job", "atexit registered at import"]
    assert ends == one * 2
    assert (agent.directory / "early").read_text() in ("", "x")


async def test_signals_are_those_of_the_users_code(agent: Agent) -> None:
    agent.write("""
        signal.signal(signal.SIGUSR1, lambda *_: None)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        def initialize(process):  # before the runner listens to SIGTERM and SIGINT
            note("term", signal.getsignal(signal.SIGTERM) in (signal.SIG_DFL,) or "runner")
            note("int", signal.getsignal(signal.SIGINT) is signal.default_int_handler or "runner")
            note("usr1", signal.getsignal(signal.SIGUSR1).__name__)
            note("hup", signal.getsignal(signal.SIGHUP) == signal.SIG_IGN)
            note("chld", signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL)
            note("blocked", signal.pthread_sigmask(signal.SIG_BLOCK, []))
        async def entrypoint(ctx): ...
        """)
    agent.initialize = "initialize"
    async with agent.forkserver() as forkserver:
        assert await agent.run_job(forkserver) == DONE
    assert agent.notes()[1:] == [
        "term runner",
        "int runner",
        "usr1 <lambda>",
        "hup True",
        "chld True",
        "blocked set()",
    ]


@pytest.mark.parametrize(
    "handler", ["signal.SIG_IGN", "lambda *_: os.waitpid(-1, 0)"], ids=["ignored", "buried"]
)
async def test_code_that_buries_all_children_itself_is_forked(agent: Agent, handler: str) -> None:
    """The template's rehearsal has a child, too, while the code's handler is in place."""
    agent.write(f"""
        signal.signal(signal.SIGCHLD, {handler})
        async def entrypoint(ctx): ...
        """)
    async with agent.forkserver() as forkserver:
        assert await agent.run_job(forkserver) == DONE
        assert spawned(forkserver) == 0


@pytest.mark.parametrize("shared", [True, False])
async def test_initialize_runs_once_where_it_is_marked(agent: Agent, shared: bool) -> None:
    mark = "@before_fork" if shared else ""
    agent.write(f"""
        from vsdk_trio import before_fork
        {mark}
        def initialize(process):
            note("initialized", os.getpid())
            process.userdata["model"] = ["big"]
        async def entrypoint(ctx):
            note("userdata", ctx.process.userdata, ctx.process.pid == os.getpid())
            ctx.process.userdata["model"].append("mine")
        """)
    agent.initialize = "initialize"
    async with agent.forkserver() as forkserver:
        assert await agent.run_job(forkserver) == DONE
        assert await agent.run_job(forkserver) == DONE
        template = template_of(forkserver).pid
        assert spawned(forkserver) == 0
    assert agent.noted("userdata") == ["{'model': ['big']} True"] * 2
    if shared:
        assert agent.noted("initialized") == [str(template)]
    else:
        assert len(set(agent.noted("initialized")) - {str(template)}) == 2


async def test_a_recorded_job_brings_its_live_options(agent: Agent) -> None:
    agent.write("""
        from vsdk_trio import JobContext, RoomOptions, WorkerJob
        async def entrypoint(ctx):
            note("avatar", ctx.room_options.avatar.name)
        class Avatar:
            name = "Ada"
        WorkerJob(entrypoint, JobContext(room_options=RoomOptions(avatar=Avatar()))).start()
        """)
    async with agent.forkserver() as forkserver:
        async with agent.process(forkserver) as process:
            assert process.ready is not None
            assert process.ready.recorded
            await agent.give_job(process)
            await process.exited.wait()
        assert spawned(forkserver) == 0
    assert agent.noted("avatar") == ["Ada"]


async def test_a_module_with_threads_is_spawned_and_they_are_named(
    agent: Agent, caplog: pytest.LogCaptureFixture
) -> None:
    agent.write("""
        def tick():
            time.sleep(600)
        threading.Thread(target=tick, name="the culprit", daemon=True).start()
        async def entrypoint(ctx): note("ran")
        """)
    async with agent.forkserver() as forkserver:
        for _ in range(2):
            assert await agent.run_job(forkserver) == DONE
        assert spawned(forkserver) == 2
    (said,) = [text for text in caplog.messages if "threads" in text]
    assert "'the culprit' (agent.py:" in said
    assert " in tick)" in said


@pytest.mark.parametrize("cautious", [True, False])
async def test_a_connection_made_while_importing(
    agent: Agent, cautious: bool, caplog: pytest.LogCaptureFixture
) -> None:
    agent.write("pair = socket.socketpair()\n" + PLAIN)
    agent.cautious = cautious
    async with agent.forkserver() as forkserver:
        assert await agent.run_job(forkserver) == DONE
        assert spawned(forkserver) == (1 if cautious else 0)
    (said,) = [text for text in caplog.messages if "what all jobs would share" in text]
    assert "(socket:" in said


async def test_a_module_that_cannot_be_imported_fails_as_it_does_when_spawned(
    agent: Agent, caplog: pytest.LogCaptureFixture
) -> None:
    agent.write("raise LookupError('no model')\n" + PLAIN)
    async with agent.forkserver() as forkserver:
        failure = pytest.RaisesExc(JobProcessError, match="LookupError: no model")
        with pytest.RaisesGroup(failure, flatten_subgroups=True):
            async with agent.process(forkserver):
                pass
        assert any("cannot be loaded: LookupError" in text for text in caplog.messages)
        agent.write(PLAIN)  # mended, and nobody is told
        with trio.fail_after(20):
            before = -1
            while spawned(forkserver) != before:  # each is a reason to try again
                before = spawned(forkserver)
                assert await agent.run_job(forkserver) == DONE


async def test_a_template_in_which_no_job_can_be_run_is_not_forked(
    agent: Agent, caplog: pytest.LogCaptureFixture
) -> None:
    agent.write("""
        if ".template-" in os.environ["VSDK_TRIO_COOKIE"]:
            import vsdk_trio.runner.process
            vsdk_trio.runner.process.read_hello = None
        async def entrypoint(ctx): ...
        """)
    async with agent.forkserver() as forkserver:
        assert await agent.run_job(forkserver) == DONE
        assert spawned(forkserver) == 1
    assert "no job can be run in it: TypeError" in caplog.text


async def test_what_cannot_be_preloaded_is_said_and_costs_nothing(
    agent: Agent, caplog: pytest.LogCaptureFixture
) -> None:
    agent.preload = ["no_such_module", "json.tool"]
    agent.write("async def entrypoint(ctx): note('has', 'json.tool' in sys.modules)")
    async with agent.forkserver() as forkserver:
        assert await agent.run_job(forkserver) == DONE
        assert spawned(forkserver) == 0
    assert agent.noted("has") == ["True"]
    assert any("cannot preload 'no_such_module'" in text for text in caplog.messages)


async def test_changed_code_is_run_next_and_what_runs_is_left_alone(agent: Agent) -> None:
    (agent.directory / "helper.py").write_text("VERSION = 1\n")
    agent.write("""
        sys.path.insert(0, str(HERE))
        import helper
        async def entrypoint(ctx):
            note("version", helper.VERSION)
            if ctx.metadata.get("waits"):
                while not (HERE / "go").exists():
                    await trio.sleep(0.01)
                os.kill(os.getpid(), signal.SIGSEGV)
        """)
    async with agent.forkserver() as forkserver:
        async with agent.process(forkserver) as process:
            await agent.give_job(process, waits=True)
            await until(lambda: agent.noted("version"), "not begun")
            first = template_of(forkserver)
            (agent.directory / "helper.py").write_text("VERSION = 22\n")
            assert await agent.run_job(forkserver) == DONE
            assert spawned(forkserver) == 1
            await until(lambda: forkserver._template, "no new template")
            assert await agent.run_job(forkserver) == DONE
            assert spawned(forkserver) == 1
            assert first.is_running()
            (agent.directory / "go").touch()
            await process.exited.wait()
        # Its own template has told.
        assert process.exit.returncode == -signal.SIGSEGV
        await until(lambda: not first.is_running(), "the old template stays")
    assert agent.noted("version") == ["1", "22", "22"]


async def test_a_hundred_forks_leak_nothing(agent: Agent) -> None:
    def descriptors(pid: int) -> int:
        return len(os.listdir(f"/proc/{pid}/fd"))

    async with agent.forkserver() as forkserver:
        assert await agent.run_job(forkserver) == DONE
        template = template_of(forkserver)
        before = [descriptors(pid) for pid in (os.getpid(), template.pid)]

        async def some() -> None:
            for _ in range(10):
                async with agent.process(forkserver):
                    pass

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(some)
        assert [descriptors(pid) for pid in (os.getpid(), template.pid)] == before
        assert template.children() == []
        assert template_of(forkserver) == template
        assert spawned(forkserver) == 0


async def test_the_template_that_hangs_while_loading_is_given_up_until_one_is_wanted_again(
    agent: Agent, caplog: pytest.LogCaptureFixture
) -> None:
    agent.write("if 'vsdk_trio.forkserver.program' in sys.modules: time.sleep(600)\n" + PLAIN)
    async with agent.forkserver(load_seconds=2.0) as forkserver:
        assert await agent.run_job(forkserver) == DONE
        assert spawned(forkserver) == 1
        assert any("not loaded within 2 s" in text for text in caplog.messages)
        agent.write(PLAIN)
        with trio.fail_after(20):
            while forkserver._template is None:  # each job wants one
                assert await agent.run_job(forkserver) == DONE
        before = spawned(forkserver)
        assert await agent.run_job(forkserver) == DONE
        assert spawned(forkserver) == before


async def test_the_template_that_cannot_be_started(
    agent: Agent, caplog: pytest.LogCaptureFixture
) -> None:
    async with agent.forkserver(argv=("/nothing-here",)) as forkserver:
        assert await agent.run_job(forkserver) == DONE
        assert spawned(forkserver) == 1
    assert any("/nothing-here" in text for text in caplog.messages)


async def test_the_reason_is_said_once(agent: Agent, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        async with agent.forkserver(argv=(sys.executable, "-c", "1")) as forkserver:
            for _ in range(3):
                assert await agent.run_job(forkserver) == DONE
    said = [text for text in caplog.messages if "started afresh" in text]
    assert said == [
        "job processes are started afresh and not forked: it ended by itself: exit code 0"
    ]
