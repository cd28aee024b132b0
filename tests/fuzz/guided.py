"""`python -m tests.fuzz.guided`: one target under atheris, whose inputs follow the coverage.

atheris has to instrument the program while it is imported, so this is a process of its own, which
`tests.fuzz` starts where atheris is installed.
"""

from __future__ import annotations

import argparse
import importlib
import random
import sys
from pathlib import Path

import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]  # optional


def main() -> None:
    """Never returns: libFuzzer ends the process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("target")
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--seconds", type=int, required=True)
    parser.add_argument("--chance", type=int, required=True)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--found", type=Path)
    parser.add_argument("--report", type=Path, required=True)
    options = parser.parse_args()

    with atheris.instrument_imports(
        include=["vsdk_trio", "trio_websocket", "wsproto", "h11", "httpcore", "starlette"]
    ):
        targets = importlib.import_module("tests.fuzz.targets.all").TARGETS
    hunting = importlib.import_module("tests.fuzz.hunt")
    mutating = importlib.import_module("tests.fuzz.mutate")

    target = targets[options.target]
    findings = hunting.Findings(target, options.found)
    seeds = hunting.corpus_of(target)
    options.corpus.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        (options.corpus / hunting.name_of(seed)).write_bytes(seed)
    mutator = mutating.Mutator(random.Random(options.chance), target.words)
    rng = random.Random(options.chance)

    def mutate(data: bytes, most: int, chance: int) -> bytes:
        if rng.random() < 0.3:
            return bytes(atheris.Mutate(data, most))
        return bytes(mutator.mutate(data, rng.choice(seeds)))[:most]

    known = 0

    def attempt(data: bytes) -> None:
        nonlocal known
        findings.attempt(data)
        if len(findings.kinds) > known:  # at the end would be too late: libFuzzer just leaves
            known = len(findings.kinds)
            options.report.write_text("\n".join(kind.replace("\n", " ") for kind in findings.kinds))

    arguments = [
        sys.argv[0],
        f"-runs={options.runs}",
        f"-max_total_time={options.seconds}",
        f"-seed={options.chance}",
        f"-max_len={mutating.MAX_BYTES}",
        "-timeout=30",
        "-rss_limit_mb=2048",
        "-print_final_stats=1",
        "-verbosity=0",
        str(options.corpus),
    ]
    with hunting.strict():
        atheris.Setup(arguments, attempt, custom_mutator=mutate)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
