"""Loggers of ours: whatever is done to `logging`, they say what they have to say, once."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent.parent / "vsdk_trio"
# They look at the loggers of others, or at the root.
OTHERS = {
    "telemetry/logs/loggers.py",
    "runner/job_log.py",
    "rooms/hosted/sdk.py",
    "cli/agents.py",
}


def test_every_logger_of_ours_is_made_in_one_place() -> None:
    """`logging.getLogger` makes one that `dictConfig` disables: use `get_logger`."""
    found = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr == "getLogger"
    }
    assert found <= OTHERS


DEEDS = {
    "dictConfig": "logging.config.dictConfig({'version': 1, 'root': {'level': 'CRITICAL'}})",
    "fileConfig": "logging.config.fileConfig(io.StringIO(INI))",
    "force": "logging.basicConfig(force=True, level='CRITICAL')",
    "disable": "logging.disable(logging.CRITICAL)",
    "shutdown": "logging.shutdown()",
    "no handlers": "logging.root.handlers.clear()",
    "root level": "logging.root.setLevel(logging.CRITICAL)",
    "each logger": "for one in every(): one.handlers, one.propagate, one.disabled = [], 1, True",
    "each level": "for one in every(): one.setLevel(logging.CRITICAL)",
    "each filter": "for one in every(): one.addFilter(lambda record: False)",
    "filter that raises": "for one in every(): one.addFilter(lambda record: 1 / 0)",
    "handler that raises": "logging.root.addHandler(Raises())",
    "factory that raises": "logging.setLogRecordFactory(lambda *a, **k: 1 / 0)",
    "factory with our fields": "logging.setLogRecordFactory(with_job)",
    "logger class": "logging.setLoggerClass(Quiet)",
    "no loggers": "logging.root.manager.loggerDict.clear()",
    "reload": "import importlib; importlib.reload(logging)",
    "raiseExceptions": "logging.raiseExceptions = False",
    "stderr": "sys.stderr = sys.stdout = io.StringIO()",
    "last resort": "logging.lastResort = None",
}
INI = "[loggers]\nkeys=root\n[handlers]\nkeys=\n[formatters]\nkeys=\n[logger_root]\nhandlers=\n"
PROGRAM = """
import io, logging, logging.config, sys
INI = {ini!r}
def every():
    return [one for one in logging.root.manager.loggerDict.values() if hasattr(one, "handlers")]
class Raises(logging.Handler):
    def emit(self, record): raise RuntimeError("no")
class Quiet(logging.Logger):
    def handle(self, record): pass
def with_job(*arguments, **named):
    record = logging.LogRecord(*arguments, **named)
    record.job_id = "theirs"
    return record
def deed():
    {deed}
if {early}: deed()
from vsdk_trio.telemetry.logs.loggers import get_logger
log = get_logger("vsdk_trio.worker")
from vsdk_trio.telemetry.logs.setup import configure_logging
if {between}: deed()
configure_logging("INFO", "console")
log = get_logger("vsdk_trio.worker")
if not {early} and not {between}: deed()
try:
    raise ValueError("the cause")
except ValueError:
    log.error("said", exc_info=True, extra={{"job_id": "ours"}})
log = get_logger("vsdk_trio.worker")
log.critical("said, too")
"""


@pytest.mark.parametrize("when", ["before our import", "before our set-up", "afterwards"])
@pytest.mark.parametrize("deed", DEEDS)
def test_an_error_is_said_once_with_its_level_and_traceback(deed: str, when: str) -> None:
    program = PROGRAM.format(
        ini=INI,
        deed=DEEDS[deed],
        early=when == "before our import",
        between=when == "before our set-up",
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    if deed == "stderr" and when != "afterwards":
        return  # it is where the program wants its log
    lines = done.stderr.splitlines()
    assert [line for line in lines if " ERROR   worker: said job_id=ours" in line], done.stderr
    assert done.stderr.count("worker: said ") == 1
    assert done.stderr.count("    ValueError: the cause\n") == 1
    assert done.stderr.count(" CRITICAL worker: said, too") == 1
