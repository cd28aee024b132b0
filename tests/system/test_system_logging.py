"""Agents that configure logging: each line of an agent's once, with its level; tracebacks always.

The table of docs/operating.md ("Agents that configure logging"), tried by programs: what an agent
does to `logging`, as its module is imported (in the worker, too) and in a job, with both start
methods.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from vsdk_trio.registry.ledger import DispatchRequest

from .conftest import Program, System, eventually, open_system

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(sys.platform != "linux", reason="the forkserver is for Linux"),
]

STDLIB = 'logging.getLogger("mine").error("the line")'
INTERCEPT = """
class Intercept(logging.Handler):
    def emit(self, record):
        loguru.logger.opt(exception=record.exc_info).log(record.levelname, record.getMessage())
"""


@attrs.frozen
class Deed:
    """What an agent does to its log, and how it says its line."""

    does: str
    says: str = STDLIB
    level: str = "ERROR"


DEEDS = {
    "nothing": Deed("pass"),
    "dictConfig": Deed(
        'logging.config.dictConfig({"version": 1, "handlers": {"c": {"class": '
        '"logging.StreamHandler"}}, "root": {"level": "INFO", "handlers": ["c"]}})'
    ),
    "dictConfig of its own loggers": Deed(
        'logging.config.dictConfig({"version": 1, "handlers": {"c": {"class": '
        '"logging.StreamHandler"}}, "loggers": {"mine": {"level": "INFO", "handlers": ["c"], '
        '"propagate": False}}})'
    ),
    "fileConfig": Deed(
        'logging.config.fileConfig(io.StringIO("[loggers]\\nkeys=root\\n[handlers]\\nkeys=c\\n'
        "[formatters]\\nkeys=\\n[logger_root]\\nlevel=INFO\\nhandlers=c\\n[handler_c]\\n"
        'class=StreamHandler\\nargs=(sys.stdout,)\\n"))'
    ),
    "basicConfig": Deed("logging.basicConfig(level=logging.INFO)"),
    "basicConfig(force=True)": Deed("logging.basicConfig(force=True, stream=sys.stdout)"),
    "a level below ours": Deed(
        'logging.basicConfig(force=True, level="DEBUG")',
        'logging.getLogger("mine").debug("the line")',
        "DEBUG",
    ),
    "logging.disable": Deed("logging.disable(logging.CRITICAL)", 'print("ERROR:mine:the line")'),
    "logging.shutdown": Deed("logging.shutdown()"),
    "root without handlers": Deed("logging.root.handlers.clear()"),
    "root at CRITICAL": Deed(
        "logging.root.setLevel(logging.CRITICAL)", 'logging.critical("the line")', "CRITICAL"
    ),
    "every logger disabled": Deed(
        "for one in list(logging.root.manager.loggerDict.values()):\n"
        "    one.handlers, one.propagate, one.disabled = [], False, True",
        'logging.getLogger("later").error("the line")',
    ),
    "other streams": Deed(
        "sys.stderr = io.TextIOWrapper(sys.stderr.buffer, encoding='utf-8', line_buffering=True)\n"
        "logging.basicConfig(force=True)"
    ),
    "a handler that raises": Deed(
        "class Raises(logging.Handler):\n"
        "    def emit(self, record):\n"
        "        if record.name != 'mine': raise RuntimeError('no')\n"
        "logging.root.addHandler(Raises())"
    ),
    "a queue": Deed(
        "import logging.handlers, queue\n"
        "q = queue.SimpleQueue()\n"
        "logging.root.addHandler(logging.handlers.QueueHandler(q))\n"
        "listener = logging.handlers.QueueListener(q, logging.StreamHandler())",
        "listener.start(); " + STDLIB + "; listener.stop()",
    ),
    "captureWarnings(False)": Deed(
        "logging.captureWarnings(False); logging.raiseExceptions = False"
    ),
    "setLoggerClass": Deed(
        "class Quiet(logging.Logger):\n    def info(self, *a, **k): pass\n"
        "logging.setLoggerClass(Quiet)"
    ),
    "a record factory": Deed(
        "made = logging.getLogRecordFactory()\n"
        "def factory(*a, **k):\n"
        "    record = made(*a, **k)\n"
        "    record.job_id = 'mine'\n"
        "    return record\n"
        "logging.setLogRecordFactory(factory)"
    ),
    "loguru": Deed("import loguru", 'loguru.logger.error("the line")'),
    "loguru in place of logging": Deed(
        f"import loguru\n{INTERCEPT}"
        "logging.basicConfig(handlers=[Intercept()], level=0, force=True)"
    ),
    "rich": Deed(
        "import rich.logging\n"
        "logging.basicConfig(handlers=[rich.logging.RichHandler()], level='INFO', force=True)"
    ),
    "structlog": Deed("import structlog", 'structlog.get_logger().error("the line", call=7)'),
    "structlog through logging": Deed(
        "import structlog\n"
        "structlog.configure(logger_factory=structlog.stdlib.LoggerFactory(), processors="
        "[structlog.stdlib.ProcessorFormatter.wrap_for_formatter])\n"
        "handler = logging.StreamHandler()\n"
        "handler.setFormatter(structlog.stdlib.ProcessorFormatter("
        "processor=structlog.processors.JSONRenderer()))\n"
        "logging.basicConfig(handlers=[handler], level='INFO', force=True)",
        'structlog.get_logger("mine").error("the line", call=7)',
    ),
    "print": Deed("pass", 'print("the line")', "INFO"),
}

AGENT = """
import io, logging, logging.config, sys, trio
from vsdk_trio import JobContext, Options, RoomOptions, WorkerJob
DEEDS = {deeds!r}
if {at_import!r}:
    exec(DEEDS[{at_import!r}][0], globals())
async def goodbye(reason):
    raise KeyError("gone")
async def entrypoint(ctx):
    deed, line = DEEDS[ctx.metadata["deed"]]
    if not {at_import!r}:
        exec(deed, globals())
    exec(line, globals())
    ctx.add_shutdown_callback(goodbye)
    raise ValueError("boom")
if __name__ == "__main__":
    WorkerJob(entrypoint, options=Options.from_env(
        agent_id="agent", auth_token="t", register=True, port=0, host="127.0.0.1", max_retry=1,
        max_processes=4, log_format="json"),
        jobctx=JobContext(room_options=RoomOptions(transport_mode="loopback"))).start()
"""


async def serve(system: System, method: str, at_import: str = "") -> Program:
    path = system.directory / "served.py"
    deeds = {name: (deed.does, deed.says) for name, deed in DEEDS.items()}
    path.write_text(AGENT.format(deeds=deeds, at_import=at_import), encoding="utf-8")
    program = await system.start(
        str(path),
        env={"VSDK_TRIO_SIGNALING_BASE_URL": system.url, "VSDK_TRIO_START_METHOD": method},
    )
    await eventually(
        lambda: system.registry.workers() or program.process.poll() is not None, "no worker"
    )
    assert system.registry.workers(), program.output
    return program


async def run(system: System, deed: str) -> str:
    """Run a job that does `deed`, to its end; returns its id."""
    request = DispatchRequest(agent_id="agent", room_id="room", metadata={"deed": deed})
    job = await system.registry.wait_ended((await system.registry.dispatch(request)).job_id)
    assert job.state.value == "failed"
    return job.job_id


def entries(program: Program, job_id: str) -> list[dict[str, Any]]:
    whole, _, _ = program.output.rpartition("\n")
    found = [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
    return [entry for entry in found if entry.get("job_id") == job_id]


TRACEBACKS = {
    "the job failed: ": "\nValueError: boom",
    "shutdown callback goodbye failed: ": "KeyError: 'gone'",
}


def told(program: Program, job_id: str, beginning: str) -> list[tuple[str, bool]]:
    """The levels of what begins so, and whether its traceback is there."""
    return [
        (entry["level"], TRACEBACKS[beginning] in entry.get("exception", ""))
        for entry in entries(program, job_id)
        if entry["message"].startswith(beginning)
    ]


async def look(program: Program, job_id: str, deed: str) -> list[str]:
    """What is wrong with a job's lines."""
    wrong = []
    for beginning in TRACEBACKS:
        try:
            await eventually(lambda: told(program, job_id, beginning), beginning)  # noqa: B023
        except AssertionError as error:
            wrong.append(f"{deed}: {error}")
    await eventually(lambda: has_ended(program, job_id), f"no end of {deed}")
    for beginning in TRACEBACKS:
        if (found := told(program, job_id, beginning)) != [("ERROR", True)]:
            wrong.append(f"{deed}: {beginning} {found}")
    said = [entry["level"] for entry in entries(program, job_id) if "the line" in entry["message"]]
    if said != [DEEDS[deed].level]:
        wrong.append(f"{deed}: the line was said as {said}")
    return wrong


def has_ended(program: Program, job_id: str) -> bool:
    return any(entry["message"].startswith("job failed: ") for entry in entries(program, job_id))


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.parametrize("deed", DEEDS)
async def test_what_a_module_does_as_it_is_imported(tmp_path: Path, deed: str, method: str) -> None:
    async with open_system(tmp_path) as system:
        program = await serve(system, method, at_import=deed)
        wrong = await look(program, await run(system, deed), deed)
        assert not wrong, program.output
        own = [
            line
            for line in program.output.splitlines()
            if "registered with the registry as " in line
        ]
        assert len(own) == 1, program.output
        assert json.loads(own[0])["severity"] == "INFO"


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
async def test_what_a_job_does(tmp_path: Path, method: str) -> None:
    wrong: list[str] = []
    async with open_system(tmp_path) as system:
        program = await serve(system, method)

        async def try_one(deed: str) -> None:
            async with limit:
                job_id = await run(system, deed)
            wrong.extend(await look(program, job_id, deed))

        limit = trio.CapacityLimiter(3)
        async with trio.open_nursery() as nursery:
            for deed in DEEDS:
                nursery.start_soon(try_one, deed)
        assert not wrong, "\n".join(wrong)


DIRECT = """
import logging.config, sys
from vsdk_trio import JobContext, Options, RoomOptions, WorkerJob
logging.config.dictConfig({"version": 1, "handlers": {"c": {"class": "logging.StreamHandler"}},
                           "root": {"level": "CRITICAL", "handlers": ["c"]}})
async def goodbye(reason):
    raise KeyError("gone")
async def entrypoint(ctx):
    logging.disable(logging.CRITICAL)
    ctx.add_shutdown_callback(goodbye)
job = WorkerJob(entrypoint, options=Options(register=False, log_format="json"),
                jobctx=JobContext(room_options=RoomOptions(transport_mode="loopback")))
if __name__ == "__main__":
    job.start()
"""


@pytest.mark.parametrize("way", [(), ("-m", "vsdk_trio", "connect")], ids=["direct", "connect"])
async def test_one_job_here_and_now(tmp_path: Path, way: tuple[str, ...]) -> None:
    async with open_system(tmp_path) as system:
        (tmp_path / "direct.py").write_text(DIRECT, encoding="utf-8")
        program = await system.start(*way, str(tmp_path / "direct.py"))
        assert await program.exit_code() == 0, program.output
        told = [line for line in program.output.splitlines() if "goodbye failed" in line]
        assert len(told) == 1, program.output
        assert "KeyError: 'gone'" in program.output


async def test_development(tmp_path: Path) -> None:
    async with open_system(tmp_path) as system:
        path = tmp_path / "served.py"
        deeds = {name: (deed.does, deed.says) for name, deed in DEEDS.items()}
        path.write_text(AGENT.format(deeds=deeds, at_import="dictConfig"), encoding="utf-8")
        program = await system.start("-m", "vsdk_trio", "dev", str(path), "--registry-port", "0")
        await eventually(lambda: "serving 'agent'" in program.output, "dev is silent")
        assert program.output.count(" registry at http://127.0.0.1:") == 1
        assert program.output.count("serving 'agent'") == 1


EMBEDDED = """
import logging.config, os, trio
from vsdk_trio import Options, RoomOptions
from vsdk_trio.worker.worker import Worker
logging.config.dictConfig({"version": 1,
    "formatters": {"f": {"format": "own %(levelname)s %(name)s %(message)s"}},
    "handlers": {"c": {"class": "logging.StreamHandler", "formatter": "f"}},
    "root": {"level": "INFO", "handlers": ["c"]}})
async def entrypoint(ctx):
    logging.config.dictConfig({"version": 1})
    logging.getLogger("mine").warning("the line")
    raise ValueError("boom")
if __name__ == "__main__":
    options = Options(agent_id="agent", auth_token="t", register=True, port=0, host="127.0.0.1",
                      signaling_base_url=os.environ["REGISTRY"])
    trio.run(Worker(options, entrypoint=entrypoint,
                    room_options=RoomOptions(transport_mode="loopback")).run)
"""


async def test_a_program_with_a_log_of_its_own(tmp_path: Path) -> None:
    async with open_system(tmp_path) as system:
        (tmp_path / "program.py").write_text(EMBEDDED, encoding="utf-8")
        program = await system.start(str(tmp_path / "program.py"), env={"REGISTRY": system.url})
        await eventually(lambda: system.registry.workers(), "no worker")
        await run(system, "")
        await eventually(lambda: "job failed" in program.output, "no end")
        text = program.output
        assert text.count("own WARNING vsdk_trio.job the line\n") == 1, text
        assert text.count("own ERROR vsdk_trio.job the job failed: ") == 1, text
        assert text.count("\nValueError: boom\n") == 1, text


ASYNCIO = """
import asyncio, logging, sys
from vsdk_trio import JobContext, Options, RoomOptions, WorkerJob, aio
@aio.entrypoint
async def entrypoint(ctx):
    logging.basicConfig(force=True, stream=sys.stderr)
    logging.getLogger("mine").error("the line")
    await asyncio.sleep(0)
    raise ValueError("boom")
if __name__ == "__main__":
    WorkerJob(entrypoint, options=Options.from_env(
        agent_id="agent", auth_token="t", register=True, port=0, host="127.0.0.1",
        log_format="json"),
        jobctx=JobContext(room_options=RoomOptions(transport_mode="loopback"))).start()
"""


async def test_an_agent_under_asyncio(tmp_path: Path) -> None:
    async with open_system(tmp_path) as system:
        (tmp_path / "agent.py").write_text(ASYNCIO, encoding="utf-8")
        program = await system.start(
            str(tmp_path / "agent.py"), env={"VSDK_TRIO_SIGNALING_BASE_URL": system.url}
        )
        await eventually(lambda: system.registry.workers(), "no worker")
        job_id = await run(system, "")
        await eventually(lambda: has_ended(program, job_id), "no end")
        lines = entries(program, job_id)
        assert [e["level"] for e in lines if e["message"] == "the line"] == ["ERROR"]
        assert len([e for e in lines if "boom" in e.get("exception", "")]) == 1
