"""`python -m benchmarks --quick` measures everything, and writes it where it belongs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(400)]

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))  # the benchmarks are not part of the package

from benchmarks.dialects import JsonDialect  # noqa: E402  # found by the line before
from benchmarks.document import BEGIN, END  # noqa: E402
from benchmarks.timeline import STAGES  # noqa: E402

FIGURES = [
    "start to registered",
    "offer to answer",
    "assignment to entrypoint, idle process",
    "assignment to entrypoint, none idle",
    "jobs sustained, 4 at once",
    "of them with a wrong outcome",
    "jobs sustained, 4 at once, one idle process",
    "of them with a wrong outcome, one idle process",
    "PSS, whole tree with 4 running jobs",
    "PSS per running job",
    "idle: CPU per 30 s",
    "idle: wakeups",
    "assignment to entrypoint, with a journal",
    "part: decode an assignment",
]
PLOTS = [
    "dispatch-latency-the-last-jobs-ms-p50",
    "pss-per-job-whole-tree-mib",
    "shutdown-s",
    "registry-connections-per-second",
    "registry-dispatches-per-second",
    "registry-memory-mib-pss",
]


def test_everything_is_measured_and_written(tmp_path: Path) -> None:
    document = tmp_path / "performance.md"
    document.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    command = [sys.executable, "-m", "benchmarks", "--quick", "--write", str(tmp_path)]
    # Else pytest-benchmark, in a pytest of its own, takes itself for one of several, and is off.
    environment = {name: os.environ[name] for name in os.environ if name[:7] != "PYTEST_"}
    result = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    text = document.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    for figure in FIGURES:
        [line] = [line for line in text.splitlines() if line.startswith(f"| {figure} |")]
        assert any(character.isdigit() for character in line.partition("|")[2]), line
    for plot in PLOTS:
        assert f"plots/{plot}.svg" in text
        assert "<svg" in (tmp_path / "plots" / f"{plot}.svg").read_text(encoding="utf-8")


def test_the_calls_of_a_dispatch_are_counted() -> None:
    command = [sys.executable, "-m", "benchmarks.calls"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    for where in ("in the worker", "in its process"):
        counts = re.findall(rf"job 2, {where}:\n((?: +[0-9]+ \S+\n)+)", result.stdout)
        assert len(counts) == 1, result.stdout


def test_the_stages_of_a_dispatch_are_timed() -> None:
    command = [sys.executable, "-m", "benchmarks.timeline", "--jobs", "2"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    rows = re.findall(r"^\| (.+) \| ([0-9]+) µs \| ([0-9]+) µs \| [0-9]+ \|$", result.stdout, re.M)
    assert len(rows) == len(STAGES) + 1, result.stdout
    for column in (1, 2):
        *stages, whole = (int(row[column]) for row in rows)
        assert whole > 0, result.stdout
        assert all(stage >= 0 for stage in stages), result.stdout


def test_an_offer_has_no_field_that_the_published_client_would_choke_on() -> None:
    offer = json.loads(JsonDialect().offer("job", stay=False))
    assert set(offer) == {"type", "job_id", "room_id", "agent_name"}
