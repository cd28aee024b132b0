"""What is imported before a worker has registered, and before a job's first line: by name.

Names do not depend on the machine, as milliseconds do. What is new here has to be worth its time
and its memory, which each job process pays anew: say so by adding it to a set.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import trio
from trio_websocket import ConnectionClosed, WebSocketRequest, serve_websocket

from vsdk_trio.control.frames import (
    Finished,
    Hello,
    JobInfo,
    Running,
    Start,
    decode_frame,
    encode_frame,
)
from vsdk_trio.jobs.entrypoint import EntrypointRef
from vsdk_trio.processes.program import command_line

pytestmark = pytest.mark.real

TRIO = {"attr", "attrs", "idna", "outcome", "sniffio", "sortedcontainers", "trio"}
WIRE = {"cattrs", "h11", "orjson", "trio_websocket", "typing_extensions", "wsproto"}
# Large parts of the standard library that neither needs.
NEVER = {"asyncio", "concurrent", "http", "multiprocessing", "sqlite3", "unittest", "xml"}

RUNNER = {
    "system.import_hints",
    "options.checks",
    "telemetry.logs.loggers",
    "_exceptions",
    "_masking",
    "options.environment",
    "options.published",
    "runner.recording",
    "options.room_parts",
    "system.shortages",
    "system.standard_library",
    "system.proc",
    "system.signals",
    "system.threads",
    "control",
    "errors",
    "jobs.entrypoint",
    "jobs.starting",
    "options.worker",
    "options.room",
    "rooms",
    "runner",
    "telemetry.traces",
}
"""Of the project: a package stands for all of its modules, but for those named below."""
NOT_IN_RUNNER = {"rooms.loopback", "rooms.hosted", "runner.direct"}

REPORT = """
import json, os, sys
names = sorted(sys.modules)
with open(os.environ["IMPORTS"], "w") as file:
    json.dump(names, file)
"""

JOB = f"""
async def entrypoint(ctx):
    exec({REPORT!r})
"""

WORKER = f"""
import sys
import trio
from vsdk_trio import Options
from vsdk_trio.worker.worker import Worker

async def entrypoint(ctx): ...

async def main():
    options = Options(agent_id="a", auth_token="t", register=True, host="127.0.0.1", port=0,
                      backend_url=sys.argv[1], num_idle_processes=0)
    async with trio.open_nursery() as nursery:
        await nursery.start(Worker(options, entrypoint=entrypoint).run)
        exec({REPORT!r})
        nursery.cancel_scope.cancel()

if __name__ == "__main__":
    trio.run(main)
"""


def _foreign(modules: list[str]) -> set[str]:
    """The top-level names that are neither ours nor of the standard library."""
    tops = {name.partition(".")[0] for name in modules}
    stdlib = sys.stdlib_module_names | {"__main__", "__mp_main__", "vsdk_trio", "job"}
    # Of the environment and the interpreter: coverage's start-up file, editable installations.
    stdlib |= {"sitecustomize", "usercustomize"}
    return {top for top in tops - stdlib if not top.startswith(("_", "coverage", "a1_"))}


def test_a_job_process_loads_what_a_job_needs(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(JOB, encoding="utf-8")
    reference = EntrypointRef(
        module="job", qualname="entrypoint", sys_path=(str(tmp_path),), argv=("x",), cwd="/"
    )
    hello = Hello(entrypoint=reference.to_dict())
    start = Start(job=JobInfo(job_id="a", room_options={"transport_mode": "loopback"}).to_dict())
    environment = {"IMPORTS": str(tmp_path / "imports.json"), "PATH": "/usr/bin"}
    command = command_line("vsdk_trio.runner")
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(encode_frame(hello) + encode_frame(start))
        process.stdin.flush()
        assert process.stdout.readline() == b"\n"  # ends what others may have printed
        said = [decode_frame(process.stdout.readline()) for _ in range(3)]
        process.kill()
    assert said[1:] == [Running(), Finished(status="completed")]
    modules: list[str] = json.loads((tmp_path / "imports.json").read_text(encoding="utf-8"))
    assert _foreign(modules) <= TRIO
    assert not NEVER & {name.partition(".")[0] for name in modules}
    own = {name.removeprefix("vsdk_trio.") for name in modules if name.startswith("vsdk_trio.")}
    too_many = {name for name in own if not _is_of(name, RUNNER) or _is_of(name, NOT_IN_RUNNER)}
    # The package itself, and the few lines that a room is held by.
    assert too_many <= {"jobs", "_service", "options", "system", "telemetry", "telemetry.logs"}


async def test_a_worker_loads_what_registering_needs(tmp_path: Path) -> None:
    script = tmp_path / "worker.py"
    script.write_text(WORKER, encoding="utf-8")

    async def registry(request: WebSocketRequest) -> None:
        websocket = await request.accept()
        await websocket.get_message()
        await websocket.send_message('{"type": "register", "success": true, "worker_id": "w"}')
        with suppress(ConnectionClosed):
            while True:
                await websocket.get_message()

    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_websocket, registry, "127.0.0.1", 0, None)
        await trio.run_process(
            [sys.executable, str(script), f"ws://127.0.0.1:{server.port}"],
            env={"IMPORTS": str(tmp_path / "imports.json"), "PATH": "/usr/bin"},
        )
        nursery.cancel_scope.cancel()
    modules: list[str] = json.loads((tmp_path / "imports.json").read_text(encoding="utf-8"))
    assert _foreign(modules) <= TRIO | WIRE
    assert not NEVER & {name.partition(".")[0] for name in modules}
    own = {name.removeprefix("vsdk_trio.") for name in modules if name.startswith("vsdk_trio.")}
    assert not {name for name in own if _is_of(name, {"registry", "cli", "rooms.hosted"})}


def _is_of(name: str, packages: set[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)
