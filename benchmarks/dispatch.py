"""`python -m benchmarks.dispatch`: how fast a worker is, beside what the machine allows.

Runs workers as programs, with real job processes, against a lean registry on 127.0.0.1. Ratios
between a figure and its floor carry over to another machine; the figures themselves do not.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import trio

from .figures import Figure, Samples
from .interpreters import find_imports
from .measurements.dispatch import measure_cold, measure_warm
from .measurements.memory import measure_memory
from .measurements.start import measure_start
from .measurements.throughput import measure_throughput
from .output import Results, as_json, as_table
from .plan import Plan
from .process_memory import CAN_MEASURE
from .registry import Registry, open_registry

JOBS, QUICK_JOBS = 200, 20
STARTS, QUICK_STARTS = 20, 5
ROUNDS, QUICK_ROUNDS = 3, 1


async def measure(plan: Plan, say: Callable[[str], None]) -> Results:
    """Measure everything, one thing after the other; `say` is told what is under way."""
    figures: list[Figure] = []
    others: list[Samples] = []
    async with open_registry() as registry:
        for name, found in _measurements(plan, registry):
            say(name)
            async for result in found:
                if isinstance(result, Figure):
                    figures.append(result)
                else:
                    others.append(result)
    return Results(figures, others)


def _measurements(
    plan: Plan, registry: Registry
) -> list[tuple[str, AsyncIterator[Figure | Samples]]]:
    known = find_imports()
    measurements = [
        (f"{plan.starts} starts", measure_start(plan, registry, known)),
        (f"{plan.jobs} jobs with an idle process", measure_warm(plan, registry)),
        (f"{plan.jobs} jobs without", measure_cold(plan, registry, known)),
        (f"{plan.jobs} jobs as fast as they go", measure_throughput(plan, registry, known)),
    ]
    if CAN_MEASURE:
        measurements.append(("memory", measure_memory(plan, registry, known)))
    return measurements


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dispatch", description=__doc__)
    parser.add_argument("--jobs", type=int, help=f"jobs for each figure ({JOBS})")
    parser.add_argument("--starts", type=int, help=f"starts of a worker ({STARTS})")
    parser.add_argument("--at-once", type=int, default=4, help="jobs at once, sustained (4)")
    parser.add_argument("--quick", action="store_true", help="a few of each, for a first look")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    quick = arguments.quick
    with tempfile.TemporaryDirectory(prefix="vsdk-") as directory:
        plan = Plan(
            jobs=arguments.jobs or (QUICK_JOBS if quick else JOBS),
            starts=arguments.starts or (QUICK_STARTS if quick else STARTS),
            at_once=arguments.at_once,
            rounds=QUICK_ROUNDS if quick else ROUNDS,
            directory=Path(directory),
        )
        results = trio.run(measure, plan, lambda text: print(f"... {text}", file=sys.stderr))
    print(as_json(results) if arguments.json else as_table(results))


if __name__ == "__main__":
    main()
