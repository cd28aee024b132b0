"""What the doctor says of one step, and how it is shown. Knows no step."""

from __future__ import annotations

import enum
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import attrs

from ._output import harmless, print_json


class Verdict(enum.StrEnum):
    """How a step went."""

    OK = "ok"
    WARNING = "warn"
    FAILED = "FAIL"
    SKIPPED = "skip"


_STYLES = {
    Verdict.OK: "green",
    Verdict.WARNING: "yellow",
    Verdict.FAILED: "bold red",
    Verdict.SKIPPED: "dim",
}
_NAME_WIDTH = 21


@attrs.frozen
class Finding:
    """One step: what was found, and, where something is wrong, what to do about it."""

    step: str
    verdict: Verdict
    text: str
    advice: str = ""


@contextmanager
def waiting_for(step: str) -> Iterator[None]:
    """Around a step that may take long: on a terminal, say that it is being taken."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(f"{step} ..."):
        yield


def print_finding(finding: Finding) -> None:
    """Print one finding for a person; colours only on a terminal."""
    from rich.console import Console
    from rich.text import Text

    console = Console(soft_wrap=True)
    line = Text()  # without a style of its own, which would be everybody's
    line.append(f"{finding.verdict:<5}", style=_STYLES[finding.verdict])
    line.append(f"{finding.step:<{_NAME_WIDTH}}")
    line.append(harmless(finding.text))
    console.print(line)
    if finding.advice:
        console.print(Text(f"     -> {harmless(finding.advice)}"))


def print_findings_json(findings: list[Finding]) -> None:
    """Print all findings as one JSON object."""
    steps = [
        {
            "step": finding.step,
            "verdict": finding.verdict.lower(),
            "text": finding.text,
            "advice": finding.advice or None,
        }
        for finding in findings
    ]
    is_well = all(finding.verdict is not Verdict.FAILED for finding in findings)
    print_json({"ok": is_well, "steps": steps})
