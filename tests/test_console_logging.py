"""What `start()` does about logging: a readable console on our own logger, and only if need be."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from vsdk_trio._logging import ConsoleFormatter


def test_a_record_is_a_line_with_its_fields() -> None:
    record = logging.makeLogRecord(
        {"name": "vsdk_trio.worker.intake", "msg": "job %s", "args": ("ended",), "job_id": "a"}
    )
    line = ConsoleFormatter().format(record)
    assert line.endswith("worker.intake: job ended job_id=a")


def test_an_exception_follows_its_line() -> None:
    try:
        raise ValueError("broken")
    except ValueError as error:
        info = (type(error), error, error.__traceback__)
    record = logging.makeLogRecord({"name": "x", "msg": "oops", "exc_info": info})
    text = ConsoleFormatter().format(record)
    assert "oops\nTraceback" in text
    assert text.endswith("ValueError: broken")


PROGRAM = """
import logging
{before}
from vsdk_trio._logging import configure_logging
configure_logging("INFO")
configure_logging("WARNING")
logging.getLogger("vsdk_trio.worker").warning("said")
logging.getLogger("vsdk_trio.worker").info("not said")
print(len(logging.getLogger("vsdk_trio").handlers), len(logging.getLogger().handlers))
"""


@pytest.mark.parametrize(
    ("before", "handlers", "said"),
    [
        ("", "1 0", "WARNING worker: said"),
        ("logging.basicConfig(format='own: %(message)s')", "0 1", "own: said"),
    ],
    ids=["a program without logging", "a program with its own"],
)
def test_only_our_own_logger_is_touched(before: str, handlers: str, said: str) -> None:
    """In a program of its own: pytest has put handlers everywhere in this one."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(before=before)],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert done.stdout.strip() == handlers
    (line,) = done.stderr.splitlines()
    assert line.endswith(said)
