"""The tables of docs/metrics.md, from the code; `python -m tests.metrics.tables` writes them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from tests.status.asking import a_view
from vsdk_trio.registry.core import Registry
from vsdk_trio.status.gauges import read_worker
from vsdk_trio.telemetry.metrics.own_process import read_own_process
from vsdk_trio.telemetry.metrics.tallies import Family, Reading
from vsdk_trio.telemetry.metrics.worker_tallies import WorkerTallies

DOCS = Path(__file__).parent.parent.parent / "docs"
PAGE = DOCS / "metrics.md"
_MARK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def _families(readings: Iterable[Reading]) -> list[Family]:
    return [reading.family for reading in readings]


def all_families() -> dict[str, list[Family]]:
    """Every metric there is, by where it is shown."""
    process = _families(read_own_process())
    worker = [*_families(read_worker(a_view())), *_families(WorkerTallies().read())]
    names = {family.name for family in worker}
    registry = [f for f in _families(Registry().measure()) if f.name not in names]
    return {"worker": worker, "registry": registry, "process": process}


def table(families: Iterable[Family]) -> str:
    """One line for each metric, in the order of their names."""
    lines = ["| metric | type | meaning | what to do when |", "|---|---|---|---|"]
    for family in sorted(families, key=lambda family: family.name):
        labels = ", ".join(f"`{label.name}`" for label in family.labels)
        name = f"`{family.name}`" + (f" by {labels}" if labels else "")
        lines.append(f"| {name} | {family.kind} | {family.help} | {family.when} |")
    return "\n".join(lines) + "\n"


def with_tables(page: str) -> str:
    """The page with its tables as the code has them."""
    families = all_families()
    return _MARK.sub(lambda mark: mark[1] + table(families[mark[2]]) + mark[3], page)


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text()))
