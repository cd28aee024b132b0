"""`python -m tests.simulation`: search for a world in which a promise is broken, or replay one."""

from __future__ import annotations

import argparse
import os
import sys
import time

from .mutations import MUTATIONS, mutated
from .schedule import generate
from .search import Summary, first_breach, rate, run_seed, search

_SHOWN = 3


def main() -> int:
    """Returns 1 where a promise was broken, or a mutation was not found."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many worlds (1000)")
    parser.add_argument("--start", type=int, default=0, help="the first seed (0)")
    parser.add_argument("--seed", type=int, help="replay this one and print its timeline")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (all cores)")
    parser.add_argument("--mutation", choices=sorted(MUTATIONS), help="with this deliberate bug")
    parser.add_argument("--mutations", action="store_true", help="how soon is each one found?")
    options = parser.parse_args()
    if options.seed is not None:
        return replay(options.seed, options.mutation)
    if options.mutations:
        return find_all_mutations(options.start, options.seeds)
    seeds = range(options.start, options.start + options.seeds)
    return run(seeds, options.jobs, options.mutation)


def replay(seed: int, mutation: str | None) -> int:
    """Print one world."""
    print(generate(seed))
    with mutated(mutation):
        trace = run_seed(seed)
    print(trace.readable())
    return 1 if trace.violations else 0


def find_all_mutations(start: int, at_most: int) -> int:
    """Print after how many worlds each deliberate bug is found."""
    missed = 0
    for name, mutation in MUTATIONS.items():
        found = first_breach(name, at_most, start)
        missed += found is None
        how = "not found" if found is None else f"after {found[0]:4}: {found[1][0][:90]}"
        print(f"promise {mutation.promise}  {name:28} {how}", flush=True)
    return 1 if missed else 0


def run(seeds: range, processes: int, mutation: str | None) -> int:
    """Search, and print the timelines of the first broken seeds."""
    began, total = time.perf_counter(), Summary()
    try:
        _search(seeds, processes, mutation, total)
    except* KeyboardInterrupt:
        print(f"\nstopped by hand after {total.seeds} of {len(seeds)} seeds")
    print(total)
    print(f"{rate(total, began):.1f} seeds a second in {processes} processes")
    if total.broken:
        again = f"--mutation {mutation} " if mutation else ""
        print(f"replay one with: python -m tests.simulation {again}--seed {total.broken[0][0]}")
    return 1 if total.broken else 0


def _search(seeds: range, processes: int, mutation: str | None, total: Summary) -> None:
    last = 0.0
    for summary in search(seeds, processes=processes, mutation=mutation):
        total.add(summary)
        for seed, violations in summary.broken:
            if len(total.broken) <= _SHOWN:
                replay(seed, mutation)
            print(f"seed {seed}: {'; '.join(violations)[:1000]}", flush=True)
        if sys.stderr.isatty() and time.perf_counter() - last > 1:
            last = time.perf_counter()
            print(f"\r{total.seeds} of {len(seeds)}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
