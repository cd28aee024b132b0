"""Every door by which a text leaves a process, as a table; a door that is not in it fails here.

What is looked for are the calls that write, send, print or answer. `DOORS` says for each module
which of them it makes, and by what its texts are masked; the kinds are the rows of the table in
`docs/guarantees.md`, which names the tests that look at what comes out.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from .test_layers import MODULES

DOCS = Path(__file__).parent.parent / "docs" / "guarantees.md"

CALLS = {
    *("print", "input", "send", "open", "Response", "JSONResponse", "PlainTextResponse"),
    *("HTMLResponse", "StreamingResponse", "FileResponse", "RedirectResponse"),
}
METHODS = {
    *("write", "writelines", "write_text", "write_bytes", "print", "print_exc"),
    *(
        "print_exception",
        "print_stack",
        "StreamHandler",
        "FileHandler",
        "basicConfig",
        "SysLogHandler",
    ),
    *("send_all", "send_message", "send_text", "sendto", "sendall", "send_denial_response", "post"),
    *("set_attribute", "set_status", "add_event", "start_span", "record_exception", "execute"),
    *("executemany"),
}

# By kind: the modules that have such doors. A kind is a row of the table in the docs.
DOORS: dict[str, set[str]] = {
    # By `worker.engine`, which makes the messages: each text of them through `presentable`.
    "messages to the registry": {"worker.driver"},
    # By `worker.engine`, which masks an end before it is written.
    "the journal": {
        "worker.driver",
        "worker.recovery",
        "journal.sqlite_store",
    },
    # By `JSONAnswer`, `TextAnswer`, `push`, `_answer`, through which each value goes.
    "HTTP of a worker and of the registry": {
        "http_server.answers",
        "registry.http_api",
    },
    # Reasons and errors are cut, and so masked, as they come in.
    "messages of the registry": {"registry.switchboard"},
    # By `read_line`, and by the formatter of `vsdk-trio registry`.
    "the log": {"telemetry.logs.setup", "telemetry.logs.outlet", "cli.registry"},
    # By `encode_record`, and by `JobLog` in the worker; what is printed, only there.
    "what a job process prints and logs": {
        "runner.job_log",
        "forkserver.program.child",
    },
    # By `mask_tracebacks`, `say_last`, and `main` of the commands.
    "the last words of a program": {"telemetry.logs.tracebacks", "cli.app", "cli._dev_look"},
    # By `harmless` and `json_of`.
    "what commands print": {
        "cli._demo",
        "cli._requests",
        "cli._doctor",
        "cli._doctor_checks",
        "cli._output",
        "cli._watch",
        "cli.demo_agent",
        "cli.clients",
        "cli.app",
    },
    "spans": {"telemetry.traces.job_span", "telemetry.traces.job_traces"},
    "systemd": {"status.sd_notify"},
}
# What carries bytes for one of the above, or stays among the processes of one worker.
CARRIERS: dict[str, str] = {
    "http_server.server": "bytes of a server",
    "websocket.link": "frames and bytes of a WebSocket",
    "backend.api": "bytes of httpcore: a request has its token in a header, by design",
    "backend.connection": "frames of whoever uses the connection",
    "backend.dialer": "a proxy is asked for a tunnel, with its own password",
    "status.server": "asks for /worker, a constant, and says who is on a port",
    "rooms.joined": "what the agent tells a room is its own",
    "control.channel": "frames between worker and job process",
    "system.proc": "reads /proc",
    "processes.guardian": "cookies, for the guardian",
    "runner.process": "the first frames of a job process",
    "runner.stdio": "a newline, before the first frame",
    "forkserver.program.environment_marker": "a cookie, into its own memory",
    "forkserver.program.server": "tracebacks of the template, on its stderr: a job's lines",
    "rooms.playground": "on a terminal the link has the token, for the person who sits there",
}
# Slices of a text by a bound that are no cut of what somebody wrote.
SLICES: dict[str, str] = {
    "_masking": "the masker's own",
    "journal.sqlite_store": "the name of a file",
    "processes.exit": "of masked lines",
    "processes.job_log": "lines, not characters",
    "runner.job_log": "of masked texts, to what a line has room for",
    "runner.outcome": "errors, not characters",
    "status.dashboard": "points of a curve",
    "registry.page": "jobs and workers",
    "rooms.playback": "audio",
    "forkserver.program.server": "bytes of numbers",
}


def _doors(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            name = called.rpartition(".")[2]
            if called in CALLS or called == "os.write" or (name in METHODS and "." in called):
                yield called


def _is_constant(bound: ast.expr) -> bool:
    match bound:
        case ast.Name(id=name):
            return name.lstrip("_").isupper()
        case ast.UnaryOp(operand=inner):
            return _is_constant(inner)
        case ast.BinOp(left=left, right=right):
            return _is_constant(left) or _is_constant(right)
        case _:
            return False


def _cuts(path: Path) -> Iterator[str]:
    """Slices whose bound is a constant by name, such as `text[:MAX]` or `text[: MAX - 1]`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice):
            bounds = [bound for bound in (node.slice.lower, node.slice.upper) if bound is not None]
            if any(_is_constant(bound) for bound in bounds):
                yield ast.unparse(node)


OURS = {name: path for name, path in MODULES.items() if not name.startswith("testing")}


@pytest.mark.parametrize("module", OURS)
def test_every_door_is_in_the_table(module: str) -> None:
    listed = any(module in modules for modules in DOORS.values()) or module in CARRIERS
    found = sorted(set(_doors(OURS[module])))
    assert listed or not found, (
        f"{module} has a new door, {found}: mask what leaves by it (`_masking.mask`), and add it "
        "here and to docs/guarantees.md"
    )


@pytest.mark.parametrize("module", OURS)
def test_nothing_is_cut_before_it_is_masked(module: str) -> None:
    found = sorted(set(_cuts(OURS[module])))
    assert module in SLICES or not found, f"{module} cuts by hand, {found}: use `_masking.cut`"


def test_the_tables_have_nothing_that_is_gone() -> None:
    named = {*CARRIERS, *(name for names in DOORS.values() for name in names)}
    assert not named - OURS.keys()
    assert not [name for name in named if not set(_doors(OURS[name]))]
    assert not [name for name in SLICES if not set(_cuts(OURS[name]))]


def test_the_docs_have_each_kind_of_door() -> None:
    rows = [row for row in DOCS.read_text(encoding="utf-8").splitlines() if row.startswith("| ")]
    assert not [kind for kind in DOORS if not any(row.startswith(f"| {kind} |") for row in rows)]


def test_there_is_one_masker() -> None:
    """Nobody else has a mask, or takes secrets out of a text by himself."""
    makers = [
        name
        for name, path in OURS.items()
        if name != "_masking" and any(word in path.read_text() for word in ('"***"', "Masker("))
    ]
    assert not makers
