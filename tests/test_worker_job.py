"""`WorkerJob`, the front door: what it refuses, and what it hands on."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

import vsdk_trio
from vsdk_trio import aio
from vsdk_trio.backend.token import TokenProvider
from vsdk_trio.errors import (
    ConnectError,
    EntrypointError,
    EventLoopError,
    OptionsError,
    RegistrationRefusedError,
    RegistryUnreachableError,
    TokenError,
    VsdkTrioError,
)
from vsdk_trio.options.room import RoomOptions, TransportMode, WebSocketConfig
from vsdk_trio.options.worker import Options, WorkerOptions
from vsdk_trio.runner import recording as _recording
from vsdk_trio.runner.job_context import JobContext
from vsdk_trio.worker.worker import Worker, WorkerReport, run_worker_program
from vsdk_trio.worker_job import WorkerJob, _usable_token


async def entrypoint(ctx: JobContext) -> None:
    """A function that a job process can import."""


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """What `start()` does to our logger is put back."""
    logger = logging.getLogger("vsdk_trio")
    level, handlers = logger.level, list(logger.handlers)
    yield
    logger.setLevel(level)
    logger.handlers[:] = handlers


def plain(ctx: JobContext) -> None:
    """Not a coroutine function."""


async def takes_nothing() -> None:
    """Has no place for the context."""


REGISTERED = Options(register=True)


def test_a_plain_function_is_refused() -> None:
    with pytest.raises(EntrypointError, match="must be an `async def` function"):
        WorkerJob(plain)  # type: ignore[arg-type]  # the mistake under test


@pytest.mark.parametrize("options", [None, REGISTERED])
def test_an_entrypoint_that_has_no_place_for_the_context_is_refused(
    options: Options | None,
) -> None:
    with pytest.raises(
        EntrypointError, match=r"takes_nothing\(\) -> '?None'? cannot be called with one"
    ):
        WorkerJob(takes_nothing, options=options)  # type: ignore[arg-type]  # the mistake under test


def test_a_program_whose_output_was_closed_before_it_started_serves_all_the_same() -> None:
    program = (
        "import sys, vsdk_trio.worker.worker as main; sys.stdout = None\n"
        "main.run_worker_program = lambda make: sys.exit(7)\n"
        "from vsdk_trio import Options, WorkerJob\n"
        "from vsdk_trio.cli.demo_agent import entrypoint\n"
        "WorkerJob(entrypoint, options=Options(register=True)).start()\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 7


def test_what_a_job_process_cannot_import_is_refused_when_it_is_built() -> None:
    async def inner(ctx: JobContext) -> None:
        """Lives in a function."""

    with pytest.raises(TypeError, match="cannot be run by a job process"):
        WorkerJob(inner, options=REGISTERED)
    WorkerJob(inner)  # direct mode runs it here, so any function will do


def test_it_says_what_it_is() -> None:
    assert repr(WorkerJob(entrypoint)) == "<WorkerJob entrypoint direct>"
    assert repr(WorkerJob(entrypoint, options=REGISTERED)) == "<WorkerJob entrypoint registered>"


def test_the_context_is_a_value_a_callable_or_a_default() -> None:
    context = JobContext(room_options=RoomOptions(name="Given"))
    assert WorkerJob(entrypoint, context).context() is context
    assert WorkerJob(entrypoint, lambda: context).context() is context
    assert WorkerJob(entrypoint).context().room_options == RoomOptions()
    with pytest.raises(OptionsError, match="jobctx must be a JobContext or return one, got int"):
        WorkerJob(entrypoint, lambda: 3).context()  # type: ignore[arg-type, return-value]  # the mistake under test


def test_in_a_job_process_it_is_known_and_starts_nothing() -> None:
    with _recording.recording() as recorded:
        job = WorkerJob(entrypoint, options=REGISTERED)
        job.start()
    assert recorded == [job]


def test_direct_mode_runs_the_entrypoint_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VSDK_TRIO_TRANSPORT", "loopback")
    seen: list[str] = []

    async def agent(ctx: JobContext) -> None:
        ctx.add_shutdown_callback(lambda reason: seen.append("callback"))
        await ctx.connect()
        seen.append("ran")

    WorkerJob(agent).start()
    assert seen == ["ran", "callback"]


def test_direct_mode_makes_a_token_from_keys_only_where_there_is_no_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("VIDEOSDK_AUTH_TOKEN", raising=False)
    assert _usable_token(Options()) is None
    monkeypatch.setenv("VIDEOSDK_API_KEY", "key")
    monkeypatch.setenv("VIDEOSDK_SECRET_KEY", "secret")
    assert callable(_usable_token(Options()))
    assert _usable_token(Options(auth_token="given")) == "given"
    monkeypatch.setenv("VIDEOSDK_AUTH_TOKEN", "from-env")
    assert _usable_token(Options()) is None


def test_a_worker_needs_an_entrypoint() -> None:
    with pytest.raises(TypeError, match="needs an entrypoint"):
        Worker(Options())
    assert Worker(WorkerOptions(entrypoint_fnc=entrypoint))


def test_a_transport_that_no_job_knows_is_found_at_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VSDK_TRIO_TRANSPORT", "lopback")
    with pytest.raises(OptionsError, match="VSDK_TRIO_TRANSPORT"):
        Worker(Options(), entrypoint=entrypoint)


class _Worker:
    def __init__(self, ending: WorkerReport | Exception) -> None:
        self._ending = ending

    async def run(self) -> WorkerReport:
        if isinstance(self._ending, Exception):
            raise self._ending
        return self._ending


def program(ending: WorkerReport | Exception) -> None:
    worker: Any = _Worker(ending)
    run_worker_program(lambda: worker)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OptionsError("x"), 2),
        (TokenError("x"), 2),
        (RegistrationRefusedError("x"), 4),
        (RegistryUnreachableError("x"), 4),
        (ConnectError("x"), 1),
        (VsdkTrioError("x"), 1),
    ],
)
def test_an_error_is_a_line_and_an_exit_code(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        program(error)
    assert end.value.code == code
    assert capsys.readouterr().err == "vsdk_trio: x\n"


def test_killed_jobs_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        program(WorkerReport(killed=("a", "b")))
    assert end.value.code == 3
    assert "were killed: a, b" in capsys.readouterr().err


def test_a_clean_end_returns() -> None:
    program(WorkerReport())


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        program(ZeroDivisionError())


def test_every_public_name_is_there() -> None:
    for name in vsdk_trio.__all__:
        assert getattr(vsdk_trio, name) is not None
    assert {*vsdk_trio.__all__} <= {*dir(vsdk_trio)}
    with pytest.raises(AttributeError, match="no attribute 'Wroker'"):
        _ = vsdk_trio.Wroker  # type: ignore[attr-defined]  # the mistake under test


@pytest.mark.parametrize("name", ["Options", "WorkerJob", "JobContext"])
def test_names_of_a_script_load_nothing_heavy(name: str) -> None:
    """A job process imports the user's script, and with it these names."""
    program = f"import sys; from vsdk_trio import {name}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )
    heavy = {"cattrs", "orjson", "trio_websocket", "httpcore", "starlette", "hypercorn", "typer"}
    heavy |= {"rich", "psutil", "wsproto", "vsdk_trio.backend", "vsdk_trio.registry.core"}
    assert not heavy & {*done.stdout.split()}


def published(name: str) -> Any:
    """A stand-in for an object of a class of `videosdk-agents`, which need not be installed."""
    return type(name, (), {"__module__": "videosdk.agents.job"})


def instance(cls: str, /, **values: Any) -> Any:
    made = published(cls)()
    vars(made).update(values)
    return made


def test_the_published_options_are_read_field_by_field(caplog: pytest.LogCaptureFixture) -> None:
    executor = instance("ExecutorType", value="process")
    permissions = instance("WorkerPermissions", can_publish=False, hidden=True)
    given = instance(
        "Options",
        executor_type=executor,
        permissions=permissions,
        agent_id="theirs",
        max_processes=7,
        register=True,
        auth_token="",
        colour="red",
    )
    options = WorkerJob(entrypoint, options=given).options
    assert (options.agent_id, options.max_processes, options.register) == ("theirs", 7, True)
    assert options.auth_token is None
    assert options.permissions.hidden
    assert not options.permissions.can_publish
    assert "no effect here: colour" in caplog.text


def test_a_token_that_the_published_package_has_signed_is_signed_anew_by_us(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Theirs is valid for an hour, which a worker outlives."""
    utils: Any = types.ModuleType("videosdk.agents.utils")
    utils._generated_token_cache = "theirs"
    monkeypatch.setitem(sys.modules, "videosdk.agents.utils", utils)
    for name, value in {"API_KEY": "key", "SECRET_KEY": "secret", "AUTH_TOKEN": "theirs"}.items():
        monkeypatch.setenv(f"VIDEOSDK_{name}", value)
    for token, kept in (("theirs", None), ("a person's", "a person's")):
        given = instance("Options", auth_token=token)
        assert WorkerJob(entrypoint, options=given).options.auth_token == kept
    assert trio.run(TokenProvider().get).count(".") == 2
    monkeypatch.setenv("VIDEOSDK_AUTH_TOKEN", "a-persons")
    assert trio.run(TokenProvider().get) == "a-persons"


def test_the_published_room_options_and_context_are_read_field_by_field() -> None:
    socket = instance("WebSocketConfig", port=9, path="/theirs")
    mode = instance("TransportMode", value="websocket")
    room = instance("RoomOptions", name="Ada", vision=True, transport_mode=mode, websocket=socket)
    context = instance("JobContext", room_options=room, metadata={"k": "v"})
    for source in (context, lambda: context):
        own = WorkerJob(entrypoint, jobctx=source).context()
        assert (own.room_options.name, own.room_options.vision) == ("Ada", True)
        assert own.room_options.websocket == WebSocketConfig(port=9, path="/theirs")
        assert own.room_options.transport_mode is TransportMode.WEBSOCKET
        assert own.metadata == {"k": "v"}


def test_the_published_default_transport_is_no_choice() -> None:
    room = instance("RoomOptions", transport_mode=instance("TransportMode", value="videosdk"))
    own = JobContext(room_options=room).room_options
    environ = {"VSDK_TRIO_TRANSPORT": "loopback"}
    assert own.effective_transport(environ) is TransportMode.LOOPBACK


FOREIGN = type("Options", (), {"__module__": "some.package"})()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: WorkerJob(entrypoint, options=FOREIGN), r"got some\.package\.Options; write"),
        (lambda: WorkerJob(entrypoint, options={"a": 1}), "must be vsdk_trio.Options, got dict"),  # type: ignore[arg-type]  # the mistake under test
        (lambda: WorkerJob(entrypoint, jobctx={"meetingId": "m"}), r"room_options=RoomOptions\("),  # type: ignore[arg-type]  # the mistake under test
        (lambda: JobContext(room_options=FOREIGN), r"got some\.package\.Options; write"),
        (lambda: RoomOptions(websocket=FOREIGN), r"mapping, got some\.package\.Options"),
        (lambda: WorkerJob(job_func=entrypoint), "write entrypoint=..."),  # type: ignore[call-arg]  # the mistake under test
        (lambda: WorkerJob(entrypoint, option=None), "did you mean 'options'"),  # type: ignore[call-arg]  # the mistake under test
        (lambda: WorkerJob(functools.partial(entrypoint, y=1)), "unexpected keyword|cannot be"),
        (lambda: WorkerJob(functools.partial(takes_two, 1, 2)), "too many|cannot be called"),
    ],
)
def test_half_a_move_is_one_line_that_says_what_to_write(
    make: Callable[[], object], words: str
) -> None:
    with pytest.raises(TypeError, match=words) as raised:
        make()
    assert "\n" not in str(raised.value)


async def takes_two(x: int, ctx: JobContext) -> None:
    """A partial of it is an entrypoint of direct mode."""


def test_a_partial_and_a_method_are_entrypoints_of_direct_mode(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VSDK_TRIO_TRANSPORT", "loopback")
    seen: list[str] = []

    class Service:
        @aio.entrypoint
        async def run(self, ctx: JobContext) -> None:
            await ctx.connect()
            seen.append(type(self).__name__)

    WorkerJob(Service().run).start()
    job = WorkerJob(functools.partial(takes_two, 1))
    assert repr(job) == "<WorkerJob takes_two direct>"
    job.start()
    assert seen == ["Service"]


def test_an_entrypoint_of_ours_may_run_a_loop_of_asyncios(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VSDK_TRIO_TRANSPORT", "loopback")
    seen: list[int] = []

    async def seven() -> int:
        await asyncio.sleep(0)
        return 7

    async def agent(ctx: JobContext) -> None:
        seen.append(asyncio.run(seven()))
        await ctx.connect()
        loop = asyncio.new_event_loop()
        seen.append(loop.run_until_complete(seven()))
        loop.close()

    WorkerJob(agent).start()
    assert seen == [7, 7]


def test_a_thread_may_start_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VSDK_TRIO_TRANSPORT", "loopback")
    threads: list[threading.Thread] = []

    async def agent(ctx: JobContext) -> None:
        await ctx.connect()
        threads.append(threading.current_thread())

    thread = threading.Thread(target=WorkerJob(agent).start)
    thread.start()
    thread.join(20)
    assert threads == [thread]


def test_a_context_knows_the_token_of_now_and_of_the_moment_when_it_was_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("VIDEOSDK_AUTH_TOKEN", raising=False)
    early = JobContext(room_options=RoomOptions())
    monkeypatch.setenv("VIDEOSDK_AUTH_TOKEN", "of-the-moment")
    made = JobContext(room_options=RoomOptions())
    assert early.videosdk_auth == made.videosdk_auth == "of-the-moment"
    monkeypatch.setenv("VIDEOSDK_AUTH_TOKEN", "renewed")
    assert made.videosdk_auth == "renewed"
    monkeypatch.delenv("VIDEOSDK_AUTH_TOKEN")
    assert made.videosdk_auth == "of-the-moment"
    assert early.videosdk_auth is None


async def test_inside_a_trio_program_start_says_what_to_await() -> None:
    with pytest.raises(EventLoopError, match=r"await job\.run\(\)"):
        WorkerJob(entrypoint).start()


def test_inside_asyncio_start_says_where_to_call_it() -> None:
    async def main() -> None:
        WorkerJob(entrypoint).start()

    with pytest.raises(EventLoopError, match=r"asyncio\.to_thread"):
        asyncio.run(main())


@pytest.mark.parametrize("line", ["asyncio.create_task(work())", "await asyncio.sleep(1)"])
def test_without_the_decorator_direct_mode_and_connect_name_it(line: str, tmp_path: Path) -> None:
    script = tmp_path / "agent.py"
    script.write_text(
        "import asyncio\nfrom vsdk_trio import WorkerJob\nasync def work(): ...\n"
        f"async def entrypoint(ctx):\n    {line}\n"
        'if __name__ == "__main__":\n    WorkerJob(entrypoint).start()\n'
    )
    for command in ([str(script)], ["-m", "vsdk_trio", "connect", str(script)]):
        done = subprocess.run(
            [sys.executable, *command],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "VSDK_TRIO_TRANSPORT": "loopback"},
        )
        assert done.returncode == 1
        assert "is marked with @vsdk_trio.aio.entrypoint" in done.stderr
