"""Before a worker registers it has seen a job process come up: what does not, and what does.

Agents are scripts of the tests' own, in surroundings that break, or seem to break, the start of
another Python. The registry must never see a worker that cannot run a job.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import zipfile
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import attr
import pytest
import trio

import vsdk_trio
from vsdk_trio.registry.ledger import DispatchRequest

from ..start_methods import start_method
from .conftest import Program, System, eventually, open_system
from .test_system_status import ask

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("each_start_method")]

AGENT = """{head}
import os, sys
from vsdk_trio import JobContext, Options, RoomOptions, WorkerJob

async def entrypoint(ctx):
    {body}

{tail}
if __name__ == "__main__":
    WorkerJob(
        entrypoint,
        jobctx=JobContext(room_options=RoomOptions(transport_mode="loopback")),
        options=Options.from_env(
            agent_id="agent", auth_token="t", register=True, port=0, host="127.0.0.1", max_retry=1
        ),
    ).start()
"""
IN_JOB_PROCESSES = 'if __name__ != "__main__":\n    '
OURS = '"vsdk_trio.runner" in sys.orig_argv or "vsdk_trio.forkserver.program" in sys.orig_argv'


def write_agent(path: Path, *, head: str = "", body: str = "pass", tail: str = "") -> None:
    path.write_text(AGENT.format(head=head, body=body, tail=tail), encoding="utf-8")


async def start(system: System, *argv: str, cwd: Path | None = None, **env: str) -> Program:
    settings = {
        "VSDK_TRIO_SIGNALING_BASE_URL": system.url,
        "VSDK_TRIO_START_METHOD": start_method(),
        **env,
    }
    return await system.start(*(argv or ("agent.py",)), cwd=cwd, env=settings)


async def runs_a_job(system: System, program: Program) -> None:
    """The worker registers, and its first job does what it is to do."""
    await eventually(
        lambda: system.registry.workers() or program.process.poll() is not None, "no worker"
    )
    assert system.registry.workers(), program.output
    with trio.fail_after(20):
        job = await system.registry.dispatch(DispatchRequest(agent_id="agent", room_id="room"))
        end = await system.registry.wait_ended(job.job_id)
    assert (end.state.value, end.error) == ("completed", None), program.output


async def is_refused(system: System, program: Program, *said: str) -> None:
    """It ends with exit code 1 and one line; the registry has heard nothing."""
    assert await program.exit_code() == 1, program.output
    [verdict] = [line for line in program.output.splitlines() if line.startswith("vsdk_trio: ")]
    for text in said:
        assert text in verdict
    assert system.registry.frames == []
    await system.nothing_left()


@pytest.mark.parametrize("idle", ["0", "1"])
@pytest.mark.parametrize(
    ("tail", "said"),
    [
        (IN_JOB_PROCESSES + "import no_such_module", "No module named 'no_such_module'"),
        (IN_JOB_PROCESSES + "del entrypoint", "has no 'entrypoint'"),
        (IN_JOB_PROCESSES + "os._exit(7)", "exited with code 7"),
        (IN_JOB_PROCESSES + "sys.exit('no licence')", "no licence"),
        ("sys.executable = '/no/such/python'", "the interpreter /no/such/python"),
        ("sys.executable = ''", "sys.executable is empty"),
        ("sys.frozen = True", "this program is frozen"),
    ],
)
async def test_what_never_works_ends_the_worker_before_it_registers(
    tmp_path: Path, tail: str, said: str, idle: str
) -> None:
    write_agent(tmp_path / "agent.py", tail=tail)
    async with open_system(tmp_path) as system:
        program = await start(system, VSDK_TRIO_NUM_IDLE_PROCESSES=idle)
        await is_refused(system, program, said)


async def test_the_traceback_is_shown_once(tmp_path: Path) -> None:
    """The agent's own frames, and none of those that have loaded it."""
    write_agent(tmp_path / "agent.py", tail=IN_JOB_PROCESSES + "import no_such_module")
    async with open_system(tmp_path) as system:
        program = await start(system)
        await is_refused(system, program, "No module named 'no_such_module' (agent.py:")
        assert program.output.count("Traceback") == 1
        assert program.output.count(", line ") == 1
        assert "loader.py" not in program.output


async def test_a_process_that_speaks_no_frames_names_its_last_words(tmp_path: Path) -> None:
    write_agent(tmp_path / "agent.py")
    (tmp_path / "sitecustomize.py").write_text(
        f"import os, sys\nif {OURS}:\n    os.write(2, b'no tracer here\\n'); os._exit(3)"
    )
    async with open_system(tmp_path) as system:
        program = await start(system, PYTHONPATH=str(tmp_path))
        await is_refused(system, program, "exited with code 3", "no tracer here")


async def test_a_file_named_like_a_module_of_the_standard_library_is_named(tmp_path: Path) -> None:
    """The worker has loaded its own long before; a job process finds the file."""
    write_agent(tmp_path / "agent.py", tail=IN_JOB_PROCESSES + "from colorsys import rgb_to_hls")
    (tmp_path / "colorsys.py").write_text("rgb = 1")
    async with open_system(tmp_path) as system:
        await is_refused(
            system, await start(system), "colorsys.py hides the library", "another name"
        )


@pytest.mark.usefixtures("unmeasured")  # coverage needs some of them, too
@pytest.mark.parametrize(
    "name",
    # The last two crash a library that is written in Rust.
    ["types", "queue", "logging", "random", "signal", "json", "email", "uuid", "dataclasses"],
)
async def test_a_file_beside_the_program_is_refused_by_its_name(tmp_path: Path, name: str) -> None:
    """The worker itself finds it first, and so do the libraries that it needs."""
    write_agent(tmp_path / "agent.py")
    (tmp_path / f"{name}.py").write_text("x = 1")
    async with open_system(tmp_path) as system:
        program = await start(system)
        assert await program.exit_code() == 1
        last = program.output.splitlines()[-1]
        assert f"{tmp_path / name}.py hides the library '{name}' of Python" in last
        assert "give it another name" in last


async def test_a_program_that_does_not_look_beside_itself(tmp_path: Path) -> None:
    write_agent(tmp_path / "agent.py")
    for name in ("types", "queue", "logging", "random", "signal", "json", "email", "uuid", "html"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('not this one')")
    async with open_system(tmp_path) as system:
        program = await start(system, "-P", "agent.py")
        await runs_a_job(system, program)
        assert (await ask(program, "/readyz"))[0] == 200


VSDK_TRIO = str(Path(sys.executable).with_name("vsdk-trio"))


async def test_a_command_has_loaded_most_of_it_before(tmp_path: Path) -> None:
    """So the agent's own files are what the agent gets, and the libraries get the others."""
    write_agent(tmp_path / "agent.py")
    for name in ("types", "queue", "logging", "random", "signal", "json"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('not this one')")
    async with open_system(tmp_path) as system:
        program = await start(system, VSDK_TRIO, "run", "agent.py")
        await runs_a_job(system, program)
        assert (await ask(program, "/readyz"))[0] == 200


@pytest.mark.usefixtures("unmeasured")
async def test_a_command_refuses_what_would_be_hidden_later(tmp_path: Path) -> None:
    """The first probe loads the HTTP server, which would have found the file."""
    write_agent(tmp_path / "agent.py")
    (tmp_path / "html.py").touch()
    async with open_system(tmp_path) as system:
        program = await start(system, VSDK_TRIO, "run", "agent.py")
        assert await program.exit_code() == 1
        assert "html.py hides the library 'html' of Python" in program.output
        assert "Traceback" not in program.output


async def test_files_named_like_modules_that_a_start_needs_do_no_harm(tmp_path: Path) -> None:
    package = tmp_path / "agents"
    package.mkdir()
    write_agent(package / "agent.py")
    for name in ("types", "queue", "logging", "random", "trio", "attr", "select"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('not this one')")
    async with open_system(tmp_path) as system:
        await runs_a_job(system, await start(system, "agents/agent.py"))


async def test_a_shortage_is_tried_again_and_said_meanwhile(tmp_path: Path) -> None:
    short = tmp_path / "short"
    short.touch()
    write_agent(
        tmp_path / "agent.py",
        tail=IN_JOB_PROCESSES
        + f"if os.path.exists({str(short)!r}): raise OSError(24, 'Too many open files')",
    )
    async with open_system(tmp_path) as system:
        program = await start(system)
        await eventually(lambda: "no idle job process" in program.output, "no failure")
        status, ready = await ask(program, "/readyz")
        assert status == 503
        assert "no job process comes up" in ready["reasons"][0]
        assert "Too many open files" in ready["reasons"][0]
        # A supervisor must not end what still tries.
        url = re.findall(r"dashboard at (\S+),", program.output)[-1]
        assert (await trio.to_thread.run_sync(urlopen, f"{url}/livez")).status == 200
        assert system.registry.frames == []
        short.unlink()
        await runs_a_job(system, program)
        assert await ask(program, "/readyz") == (
            200,
            {"ready": True, "reasons": [], "draining": None},
        )


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("does", ["raise MemoryError", "import time; time.sleep(600)"])
async def test_a_signal_during_the_pre_flight_ends_the_worker(
    tmp_path: Path, signum: signal.Signals, does: str
) -> None:
    loading = tmp_path / "loading"
    write_agent(
        tmp_path / "agent.py",
        tail=IN_JOB_PROCESSES + f"open({str(loading)!r}, 'w').close(); {does}",
    )
    async with open_system(tmp_path) as system:
        program = await start(system, VSDK_TRIO_TERMINATION_TIMEOUT="0.5")
        await eventually(loading.exists, "nothing is loaded")
        program.signal(signum)
        assert await program.exit_code() == 0, program.output
        assert system.registry.frames == []
        await system.nothing_left()


async def test_what_fails_later_is_said_and_refused_until_it_is_better(tmp_path: Path) -> None:
    write_agent(tmp_path / "agent.py", tail="")
    good = (tmp_path / "agent.py").read_text()
    async with open_system(tmp_path) as system:
        program = await start(system, VSDK_TRIO_NUM_IDLE_PROCESSES="0")
        await runs_a_job(system, program)
        (tmp_path / "agent.py").write_text("import no_such_module\n" + good)
        lost = await system.registry.dispatch(DispatchRequest(agent_id="agent", room_id="room"))
        end = await system.registry.wait_ended(lost.job_id)
        assert "no_such_module" in str(end.error)
        await eventually(
            lambda: "no job process comes up" in program.output, "trouble is not noticed"
        )
        status, ready = await ask(program, "/readyz")
        assert (status, "no_such_module" in ready["reasons"][0]) == (503, True)
        async with trio.open_nursery() as nursery:
            # It waits for a worker that takes the job, and then for its end.
            nursery.start_soon(runs_a_job, system, program)
            await eventually(
                lambda: any(
                    frame.get("available") is False and "no_such_module" in str(frame)
                    for frame in system.registry.frames
                ),
                "no refusal that says why",
            )
            (tmp_path / "agent.py").write_text(good)
        assert (await ask(program, "/readyz"))[0] == 200


async def test_a_shortage_of_processes_holds_up_whatever_is_started_first(tmp_path: Path) -> None:
    """The guardian, the template and the first job process are all programs."""
    short = tmp_path / "short"
    short.touch()
    write_agent(
        tmp_path / "agent.py",
        head="import os, subprocess\n"
        "class Popen(subprocess.Popen):\n"
        "    def __init__(self, *arguments, **named):\n"
        f"        if os.path.exists({str(short)!r}):\n"
        "            raise BlockingIOError(11, 'Resource temporarily unavailable')\n"
        "        super().__init__(*arguments, **named)\n"
        "subprocess.Popen = Popen",
    )
    async with open_system(tmp_path) as system:
        program = await start(system)
        await eventually(lambda: "no idle job process" in program.output, "no failure")
        status, ready = await ask(program, "/readyz")
        assert (status, "out of processes" in ready["reasons"][0]) == (503, True)
        assert system.registry.frames == []
        short.unlink()
        await runs_a_job(system, program)


async def test_an_interpreter_that_goes_away_and_comes_back(tmp_path: Path) -> None:
    """As while the environment is replaced. What was forked from a template needs none."""
    python = tmp_path / "python"
    python.symlink_to(sys.executable)
    write_agent(
        tmp_path / "agent.py",
        head=f"import sys; __name__ == '__main__' and setattr(sys, 'executable', {str(python)!r})",
    )
    async with open_system(tmp_path) as system:
        program = await start(system, VSDK_TRIO_NUM_IDLE_PROCESSES="0")
        await runs_a_job(system, program)
        python.unlink()
        if start_method() == "forkserver":
            await runs_a_job(system, program)
            return
        lost = await system.registry.dispatch(DispatchRequest(agent_id="agent", room_id="room"))
        end = await system.registry.wait_ended(lost.job_id)
        assert "No such file or directory" in str(end.error)
        status, ready = await ask(program, "/readyz")
        assert (status, str(python) in ready["reasons"][0]) == (503, True)
        python.symlink_to(sys.executable)
        await eventually(lambda: "jobs can be run again" in program.output, "not better")
        assert (await ask(program, "/readyz"))[0] == 200
        await runs_a_job(system, program)


# What works.


@pytest.mark.parametrize(
    ("flags", "check"),
    [
        (["-O", "-X", "utf8"], "sys.flags.optimize and sys.flags.utf8_mode"),
        (["-I"], "sys.flags.isolated"),
        (["-P"], "sys.flags.safe_path"),
        (["-X", "dev"], "sys.flags.dev_mode"),
        (["-W", "error::UserWarning"], "'error::UserWarning' in sys.warnoptions"),
        (["-u", "-B"], "sys.flags.dont_write_bytecode"),
    ],
)
async def test_flags_of_the_interpreter_are_passed_on(
    tmp_path: Path, flags: list[str], check: str
) -> None:
    write_agent(tmp_path / "agent.py", body=f"assert {check}, sys.flags")
    async with open_system(tmp_path) as system:
        await runs_a_job(system, await start(system, *flags, "agent.py"))


async def test_a_path_made_by_the_program(tmp_path: Path) -> None:
    """An interpreter without any packages; the program has put them on its path by itself."""
    command = [sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")]
    await trio.run_process(command)
    bare = str(tmp_path / "bare/bin/python")
    homes = [
        os.path.dirname(os.path.dirname(str(module.__file__))) for module in (vsdk_trio, trio, attr)
    ]
    write_agent(tmp_path / "agent.py", head=f"import sys; sys.path[:0] = {homes!r}")
    (tmp_path / "go.py").write_text(f"import os; os.execv({bare!r}, [{bare!r}, 'agent.py'])")
    async with open_system(tmp_path) as system:
        await runs_a_job(system, await start(system, "go.py", PYTHONPATH=""))


@pytest.mark.parametrize("variable", ["PYTHONSAFEPATH", "PYTHONUNBUFFERED", "PYTHONNOUSERSITE"])
async def test_variables_of_the_interpreter(tmp_path: Path, variable: str) -> None:
    write_agent(tmp_path / "agent.py")
    async with open_system(tmp_path) as system:
        given: dict[str, Any] = {variable: "1"}
        await runs_a_job(system, await start(system, **given))


@pytest.mark.parametrize("newline", ["", "\\n"])
async def test_text_on_stdout_before_the_first_frame(tmp_path: Path, newline: str) -> None:
    write_agent(tmp_path / "agent.py")
    (tmp_path / "sitecustomize.py").write_text(
        f"import os; os.write(1, b'tracing ...{newline}'); print('and more', end='{newline}')"
    )
    async with open_system(tmp_path) as system:
        await runs_a_job(system, await start(system, PYTHONPATH=str(tmp_path)))


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_directory_that_is_gone(tmp_path: Path, when: str) -> None:
    """Before the worker is described, or after."""
    home = tmp_path / "home"
    home.mkdir()
    gone = f"import os; os.chdir({str(home)!r}); os.rmdir({str(home)!r})"
    main_only = "if __name__ == '__main__':\n    " + gone
    if when == "before":
        write_agent(tmp_path / "agent.py", head=main_only)
    else:
        write_agent(tmp_path / "agent.py", tail=main_only)
    async with open_system(tmp_path) as system:
        await runs_a_job(system, await start(system, str(tmp_path / "agent.py")))


async def test_a_directory_that_goes_away_while_the_worker_runs(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    write_agent(tmp_path / "agent.py")
    async with open_system(tmp_path) as system:
        program = await start(
            system, str(tmp_path / "agent.py"), cwd=home, VSDK_TRIO_NUM_IDLE_PROCESSES="0"
        )
        await runs_a_job(system, program)
        home.rmdir()
        await runs_a_job(system, program)


async def test_a_directory_that_may_not_be_entered(tmp_path: Path) -> None:
    """As for a service that was started in the home of another user; root may enter any."""
    write_agent(tmp_path / "agent.py")
    (tmp_path / "sitecustomize.py").write_text(
        "import os\ndef no(path): raise PermissionError(13, 'Permission denied', path)\n"
        "os.chdir = no"
    )
    async with open_system(tmp_path) as system:
        await runs_a_job(system, await start(system, PYTHONPATH=str(tmp_path)))


async def test_what_the_agent_prints_as_it_is_imported(tmp_path: Path) -> None:
    write_agent(
        tmp_path / "agent.py",
        head="import os, sys; print('hello', end=''); os.write(1, b'raw'); "
        "os.system('echo from a child')",
        body="print('in the job'); os.write(1, b'raw in the job')",
    )
    async with open_system(tmp_path) as system:
        program = await start(system)
        await runs_a_job(system, program)
        await eventually(lambda: "in the job" in program.output, "what the job prints is lost")


async def test_an_agent_in_a_package_with_relative_imports(tmp_path: Path) -> None:
    package = tmp_path / "company"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "words.py").write_text("WORD = 'hello'")
    write_agent(package / "agent.py", head="from .words import WORD", body="assert WORD == 'hello'")
    async with open_system(tmp_path) as system:
        await runs_a_job(system, await start(system, "-m", "company.agent"))


async def test_a_zipapp_whose_agent_is_a_module(tmp_path: Path) -> None:
    write_agent(tmp_path / "agent.py")
    text = (tmp_path / "agent.py").read_text().replace('if __name__ == "__main__":', "def main():")
    with zipfile.ZipFile(tmp_path / "agent.pyz", "w") as archive:
        archive.writestr("talker.py", text)
        archive.writestr("__main__.py", "import talker; talker.main()")
    async with open_system(tmp_path) as system:
        await runs_a_job(system, await start(system, "agent.pyz"))


async def test_a_zipapp_whose_agent_is_its_main_program(tmp_path: Path) -> None:
    write_agent(tmp_path / "agent.py")
    with zipfile.ZipFile(tmp_path / "agent.pyz", "w") as archive:
        archive.write(tmp_path / "agent.py", "__main__.py")
    async with open_system(tmp_path) as system:
        program = await start(system, "agent.pyz")
        assert await program.exit_code() == 1
        assert "into a module of its own" in program.output.splitlines()[-1]
        assert system.registry.frames == []
