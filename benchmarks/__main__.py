"""`python -m benchmarks`: how fast and how small a worker is, beside what the machine allows.

Runs workers as the programs that they are, with real job processes, against a lean registry on
127.0.0.1; contenders take turns in one run. It takes less than ten minutes, with the peers
twelve; `--quick` less than one: a look at whether it works. `--write` puts the tables and plots
into docs/performance.md.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
import time
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

from .contenders import Contender, livekit, ours, upstream
from .document import DOCS, write
from .figures import Book
from .interpreters import find_imports
from .measurements.dispatch import measure_cold, measure_warm
from .measurements.footprint import measure_idle, measure_memory
from .measurements.journal import measure_journal
from .measurements.parts import measure_parts
from .measurements.registry_scale import measure_registry
from .measurements.scaling import measure_scaling
from .measurements.start import measure_start
from .measurements.throughput import measure_throughput
from .output import as_json, curves_markdown, machine_line, markdown
from .plan import Plan
from .process_memory import CAN_MEASURE

SECTIONS = (
    "start",
    "warm",
    "cold",
    "throughput",
    "memory",
    "idle",
    "scaling",
    "registry",
    "journal",
    "parts",
)
METHODS = ("spawn", "forkserver")
SECTION_LIMIT_SECONDS = 600.0


def make_plan(contenders: tuple[Contender, ...], directory: Path, *, quick: bool) -> Plan:
    """How much of each: what fits into ten minutes, or what shows that it works."""
    return Plan(
        contenders=contenders,
        jobs=3 if quick else 100,
        cold_jobs=2 if quick else 30,
        starts=2 if quick else 15,
        sustained_jobs=12 if quick else 150,
        at_once=4 if quick else 10,
        rounds=1 if quick else 3,
        idle_seconds=2.0 if quick else 30.0,
        job_counts=(2, 4) if quick else (10, 50, 100, 250, 500, 1000),
        worker_counts=(5, 10) if quick else (10, 100, 500, 1000),
        records=50 if quick else 1000,
        directory=directory,
    )


async def measure(plan: Plan, book: Book, sections: list[str], say: Callable[[str], None]) -> bool:
    """Measure one thing after the other; what fails is noted, and the rest measured.

    Returns whether anything has failed.
    """
    known = find_imports()
    doers: dict[str, Callable[[], Awaitable[None]]] = {
        "start": lambda: measure_start(plan, book, known),
        "warm": lambda: measure_warm(plan, book),
        "cold": lambda: measure_cold(plan, book, known),
        "throughput": lambda: measure_throughput(plan, book),
        "memory": lambda: measure_memory(plan, book, known),
        "idle": lambda: measure_idle(plan, book),
        "scaling": lambda: measure_scaling(plan, book),
        "registry": lambda: measure_registry(plan, book),
        "journal": lambda: measure_journal(plan, book),
        "parts": lambda: measure_parts(book, quick=plan.rounds == 1),
    }
    failed = False
    for section in sections:
        if section in ("memory", "idle", "scaling") and not CAN_MEASURE:
            book.notes.append(f"{section}: not measured, it needs Linux")
            continue
        began = time.monotonic()
        try:
            with trio.fail_after(SECTION_LIMIT_SECONDS):
                await doers[section]()
        except Exception as error:  # whatever it is: the other sections are worth having
            traceback.print_exception(error)
            book.notes.append(f"{section}: not measured to its end, {type(error).__name__}")
            failed = True
        say(f"{section}: {time.monotonic() - began:.0f} s")
    return failed


def _say(text: str) -> None:
    print(f"... {text}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--start-method", choices=METHODS, help="one of them; both by default")
    parser.add_argument("--only", help=f"sections, by commas: {','.join(SECTIONS)}")
    parser.add_argument("--videosdk-agents", metavar="PYTHON", help="a Python that has the peer")
    parser.add_argument(
        "--livekit-agents",
        metavar="PYTHON",
        help="the same; needs livekit-protocol beside the benchmarks",
    )
    parser.add_argument("--quick", action="store_true", help="a few of each: does it work?")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument(
        "--write",
        nargs="?",
        const=DOCS,
        type=Path,
        metavar="DOCS",
        help="write tables and plots into performance.md there; the project's own by default",
    )
    arguments = parser.parse_args()
    sections = arguments.only.split(",") if arguments.only else list(SECTIONS)
    if unknown := set(sections) - {*SECTIONS}:
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    contenders = [ours(m) for m in METHODS if arguments.start_method in (None, m)]
    if arguments.videosdk_agents:
        contenders.append(upstream(arguments.videosdk_agents))
    if arguments.livekit_agents:
        if importlib.util.find_spec("livekit") is None:
            parser.error("--livekit-agents: no livekit-protocol here; python -m pip install it")
        contenders.append(livekit(arguments.livekit_agents))
    names = [contender.name for contender in contenders]
    book = Book()
    with tempfile.TemporaryDirectory(prefix="vsdk-") as directory:
        plan = make_plan(tuple(contenders), Path(directory), quick=arguments.quick)
        failed = trio.run(measure, plan, book, sections, _say)
    machine = machine_line()  # before anything is written
    if arguments.write:
        write(book, names, arguments.write, machine)
    if arguments.json:
        print(as_json(book, machine))
    else:
        print(f"{machine}\n\n{markdown(book, names)}\n\n{curves_markdown(book)}")
        print(*book.notes, sep="\n")
    sys.exit(failed)


if __name__ == "__main__":
    main()
