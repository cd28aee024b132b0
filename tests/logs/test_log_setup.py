"""What a program does about its log: our own logger, one line for each record, and masked."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import pty
import struct
import subprocess
import sys
import termios
import time

import pytest

from vsdk_trio._masking import hide
from vsdk_trio.telemetry.logs.loggers import get_logger
from vsdk_trio.telemetry.logs.recent import (
    MAX_JOB_LINES,
    MAX_JOBS,
    MAX_LINES,
    RecentLines,
    recent_lines,
)

PROGRAM = """
import logging, sys
{before}
from vsdk_trio.telemetry.logs.loggers import get_logger
from vsdk_trio.telemetry.logs.setup import configure_logging, say_last
configure_logging("INFO", "{format}", secrets=["opaque-token"])
configure_logging("WARNING", "{format}")
log = get_logger("vsdk_trio.worker")
log.warning("said with opaque-token", extra={{"job_id": "j"}})
log.info("not said")
logging.getLogger("mine").warning("of the program")
print(len(logging.getLogger("vsdk_trio").handlers), len(logging.getLogger().handlers))
say_last("last words")
{after}
"""


def run(
    before: str = "", *, after: str = "", log_format: str = "auto"
) -> subprocess.CompletedProcess[str]:
    """In a program of its own: pytest has put handlers everywhere in this one."""
    program = PROGRAM.format(before=before, after=after, format=log_format)
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )


def test_a_program_without_logging_writes_json_where_nobody_looks() -> None:
    done = run()
    assert done.stdout.strip() == "0 0"
    ours, *others = sorted(done.stderr.splitlines(), reverse=True)
    assert sorted(others) == ["last words", "of the program"]
    assert json.loads(ours)["message"] == "said with ***"
    assert json.loads(ours)["job_id"] == "j"


def test_a_console_is_for_asking() -> None:
    done = run(log_format="console")
    assert " WARNING worker: said with *** job_id=j\n" in done.stderr


def test_basic_config_doubles_nothing_and_keeps_its_own() -> None:
    done = run("logging.basicConfig(level='INFO')")
    assert done.stdout.strip() == "0 1"
    assert done.stderr.count("said with") == 1
    assert "WARNING:mine:of the program" in done.stderr


KEEP = """
class Keep(logging.Handler):
    def emit(self, record):
        print("kept", record.msg, record.job_id)
logging.getLogger().addHandler(Keep())
logging.getLogger("mine").disabled = True
"""


def test_other_handlers_of_the_root_get_masked_records() -> None:
    done = run(KEEP)
    assert done.stdout.splitlines()[0] == "kept said with *** j"
    assert done.stderr.count("said with") == 1


def test_a_program_that_configures_our_logger_is_left_alone() -> None:
    done = run(
        "h = logging.StreamHandler(); h.setFormatter(logging.Formatter('own: %(message)s'))\n"
        "logging.getLogger('vsdk_trio').addHandler(h)"
    )
    assert done.stdout.strip() == "1 0"
    assert [line for line in done.stderr.splitlines() if "said" in line] == [
        "own: said with opaque-token"
    ]


def test_without_stderr_nothing_fails() -> None:
    assert run("sys.stderr = None").stderr == ""


def on_terminal(environ: dict[str, str], columns: int) -> str:
    """What the program shows on a terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    program = PROGRAM.format(before="", after="", format="auto")
    base = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "TERM")}
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env={**base, **environ},
    ) as process:
        os.close(theirs)
        shown = b""
        try:
            while chunk := os.read(ours, 1 << 16):
                shown += chunk
        except OSError:  # how Linux says that the other end of a terminal is closed
            pass
        process.wait(30)
    os.close(ours)
    return shown.decode()


@pytest.mark.parametrize(
    ("environ", "coloured"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "dumb"}, False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, True),
    ],
)
def test_colours_are_for_terminals_that_want_them(environ: dict[str, str], coloured: bool) -> None:
    shown = on_terminal(environ, 200)
    assert "worker: said with ***" in shown
    assert ("\x1b[" in shown) is coloured


def test_a_narrow_terminal_gets_short_lines() -> None:
    assert " W said with *** job=j" in on_terminal({"TERM": "dumb"}, 60)


def test_the_end_waits_for_a_reader_and_not_for_ever() -> None:
    program = PROGRAM.format(
        before="", after="for _ in range(500): log.warning('x' * 1000)", format="json"
    )
    read, write = os.pipe()
    started = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.DEVNULL, stderr=write
    ) as process:
        os.close(write)
        assert process.wait(30) == 0  # nobody reads
    assert time.monotonic() - started >= 1.5
    os.close(read)


def test_recent_lines_are_the_last_ones_and_short() -> None:
    logger = get_logger("vsdk_trio.test_recent_lines")
    hide("opaque-token")
    with recent_lines() as recent:
        assert recent.since() == []
        for number in range(5):
            logger.warning("%d opaque-token %s", number, "x" * 5000)
    logger.warning("not kept any more")
    assert recent.count == 5
    assert [line.message[:5] for line in recent.since()] == [f"{n} ***" for n in range(5)]
    assert [line.message[0] for line in recent.since(3)] == ["3", "4"]
    assert recent.since(5) == []
    assert all(len(line.message) <= 2000 for line in recent.since())


def test_a_loud_job_pushes_out_no_line_of_a_quiet_one() -> None:
    logger = get_logger("vsdk_trio.test_lines_of_jobs")
    with recent_lines() as recent:
        logger.warning("first", extra={"job_id": "quiet"})
        for n in range(3 * MAX_LINES):
            logger.warning("line %d", n, extra={"job_id": "loud"})
        assert [line.message for line in recent.of_job("quiet")] == ["first"]
        loud = [line.message for line in recent.of_job("loud")]
        assert len(loud) == MAX_JOB_LINES
        assert loud[-1] == f"line {3 * MAX_LINES - 1}"
        # The jobs that were heard of last are kept.
        for n in range(MAX_JOBS - 1):
            logger.warning("x", extra={"job_id": f"job-{n}"})
        assert recent.of_job("quiet") == []
        assert len(recent.of_job("loud")) == MAX_JOB_LINES
        logger.warning("x", extra={"job_id": "one more"})
        assert recent.of_job("loud") == []


def test_only_so_many_recent_lines_are_kept() -> None:
    recent = RecentLines(max_lines=3)
    for number in range(5):
        recent.add(logging.makeLogRecord({"msg": str(number)}))
    assert [line.message for line in recent.since(1)] == ["2", "3", "4"]


LIBRARY = """
import logging
from vsdk_trio.telemetry.logs.recent import recent_lines
{before}
logger = logging.getLogger("vsdk_trio")
with recent_lines() as recent:
    logger.warning("seen")
assert recent.count == 1 and not logger.handlers
"""


@pytest.mark.parametrize(("before", "seen"), [("", "seen"), ("logging.basicConfig()", "vsdk_trio")])
def test_keeping_lines_takes_nothing_from_a_program_without_handlers(
    before: str, seen: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIBRARY.format(before=before)],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert done.stderr.count("seen") == 1
    assert seen in done.stderr
