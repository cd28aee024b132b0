"""`python -m tests.fuzz`: feed the program what hostile peers, bad disks and typing errors make.

A third of the inputs is for atheris, which follows the coverage, where it is installed; the rest
is made by hypothesis and by mutation. A finding is a file: replay it with `--replay FILE`.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import attrs

from .distil import distil
from .hunt import CORPUS, Findings, corpus_of, hunt, name_of, replay, strict
from .targets.all import TARGETS

ROOT = Path(__file__).parents[2]
_BUILT_SHARE = 0.05
_MOST_BUILT = 500
_GUIDED_SHARE = 0.35


@attrs.frozen
class Report:
    """What came of one target; the counts are inputs."""

    target: str
    random: int
    guided: int
    seconds: float
    found: tuple[str, ...]


def fuzz(
    name: str, *, inputs: int, seconds: float, chance: int, found: Path, corpus: Path
) -> Report:
    """Run one target to the end of its inputs or its time."""
    target = TARGETS[name]
    began = time.monotonic()
    guided = int(inputs * _GUIDED_SHARE) if importlib.util.find_spec("atheris") else 0
    built = min(_MOST_BUILT, int((inputs - guided) * _BUILT_SHARE))
    findings = hunt(
        target,
        built=built,
        mutated=inputs - guided - built,
        chance=chance,
        seconds=seconds * (1 - _GUIDED_SHARE if guided else 1),
        directory=found,
    )
    by_coverage, also_found = 0, list[str]()
    if guided:
        left = max(1, int(seconds - (time.monotonic() - began)))
        by_coverage, also_found = _guided(name, guided, left, chance, found, corpus)
    return Report(
        name,
        findings.inputs,
        by_coverage,
        time.monotonic() - began,
        tuple(sorted({*findings.kinds, *also_found})),
    )


def _guided(
    name: str, runs: int, seconds: int, chance: int, found: Path, corpus: Path
) -> tuple[int, list[str]]:
    """Returns how many inputs it was, and what was found."""
    report = corpus / f"{name}.found"
    arguments = {
        "runs": runs,
        "seconds": seconds,
        "chance": chance,
        "corpus": corpus / name,
        "found": found,
        "report": report,
    }
    command = [sys.executable, "-m", "tests.fuzz.guided", name]
    command += [f"--{option}={value}" for option, value in arguments.items()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    runs_done = re.findall(r"number_of_executed_units: (\d+)", done.stderr)
    if done.returncode or not runs_done:
        return 0, [f"atheris ended with {done.returncode}: {done.stderr[-2000:]}"]
    kinds = report.read_text().splitlines() if report.exists() else []
    if kinds:
        print(done.stdout[-5000:], flush=True)
    return int(runs_done[-1]), kinds


def _keep(name: str, corpus: Path) -> None:
    """Put what the guided run found into the corpus of the repository, distilled."""
    target = TARGETS[name]
    grown = [path.read_bytes() for path in (corpus / name).glob("*")]
    directory = CORPUS / name
    # Inputs of found bugs stay, whatever they reach.
    regressions = {path.read_bytes() for path in directory.glob("bug-*")}
    chosen = distil(target, [*corpus_of(target)[len(target.seeds) :], *grown])
    directory.mkdir(parents=True, exist_ok=True)
    for path in directory.glob("*"):
        if not path.name.startswith("bug-"):
            path.unlink()
    for data in chosen:
        if data not in regressions:
            (directory / name_of(data)).write_bytes(data)


def _replay(path: Path, name: str) -> int:
    findings = Findings(TARGETS[name])
    with strict():
        replay(findings, [path.read_bytes()])
    print(f"{name}: {'found' if findings.kinds else 'nothing'}")
    return 1 if findings.kinds else 0


def main() -> int:
    """Returns 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="in total (100,000)")
    parser.add_argument("--target", choices=sorted(TARGETS), action="append", help="only these")
    parser.add_argument("--seconds", type=float, default=3600, help="at most, in total (3600)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (1)")
    parser.add_argument("--chance", type=int, help="the seed of everything random")
    parser.add_argument("--found", type=Path, default=Path("fuzz-found"), help="where findings go")
    parser.add_argument("--replay", type=Path, help="run this file through --target")
    parser.add_argument("--keep", action="store_true", help="add what reaches more to the corpus")
    options = parser.parse_args()
    names = options.target or list(TARGETS)
    if options.replay is not None:
        return max(_replay(options.replay, name) for name in names)
    chance = options.chance if options.chance is not None else random.randrange(2**31)
    is_guided = importlib.util.find_spec("atheris") is not None
    print(f"chance {chance}, {'with' if is_guided else 'without'} atheris")
    weight = sum(TARGETS[name].share for name in names)
    began = time.monotonic()
    reports: list[Report] = []
    with tempfile.TemporaryDirectory() as corpus, ProcessPoolExecutor(options.jobs) as pool:
        pending = [
            pool.submit(
                partial(
                    fuzz,
                    name,
                    inputs=options.inputs * TARGETS[name].share // weight,
                    seconds=options.seconds * options.jobs / len(names),
                    chance=chance,
                    found=options.found,
                    corpus=Path(corpus),
                )
            )
            for name in names
        ]
        for future in pending:
            report = future.result()
            reports.append(report)
            rate = (report.random + report.guided) / report.seconds
            print(
                f"{report.target:13} {report.random:8} random {report.guided:8} guided "
                f"{report.seconds:7.0f} s {rate:7.0f}/s  found {len(report.found)}",
                flush=True,
            )
            if options.keep:
                _keep(report.target, Path(corpus))
    total = sum(report.random + report.guided for report in reports)
    print(f"{total} inputs in {time.monotonic() - began:.0f} s")
    found = [f"{report.target}: {kind}" for report in reports for kind in report.found]
    print("\n".join(found) or "nothing found")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
