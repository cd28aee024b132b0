"""What is written about the metrics: the tables of the docs, and the Grafana dashboard."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from tests.metrics.tables import DOCS, PAGE, all_families, with_tables
from vsdk_trio.telemetry.metrics.tallies import Family

# For rates, joins and limits by hand; a panel of their own would say nothing.
NOT_DRAWN = {
    "vsdk_trio_build_info",
    "vsdk_trio_session_number",
    "process_start_time_seconds",
    "process_virtual_memory_bytes",
}
NAME = re.compile(r"\b(?:vsdk_trio|process)_[a-z0-9_]+\b")
SELECTED = re.compile(r"([a-z_]+)=~?\"")
GROUPED = re.compile(r"by \(([a-z_, ]+)\)")
# What Prometheus adds, what histograms add, what a panel's variable needs.
LABELS_OF_ALL = {"instance", "le"}


def every_family() -> dict[str, Family]:
    return {f.name: f for families in all_families().values() for f in families}


def dashboard() -> dict[str, Any]:
    value: dict[str, Any] = json.loads((DOCS / "grafana.json").read_text())
    return value


def queries() -> Iterator[str]:
    board = dashboard()
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]
    for variable in board["templating"]["list"]:
        yield variable.get("definition", "")
    for annotation in board["annotations"]["list"]:
        yield annotation["expr"]


def family_of(name: str) -> str:
    """The family of a series that a query names."""
    return re.sub(r"_(bucket|count|sum)$", "", name)


def test_the_tables_are_those_of_the_code() -> None:
    page = PAGE.read_text()
    assert page.count("<!-- table: ") == len(all_families())
    assert with_tables(page) == page, "python -m tests.metrics.tables"


def test_every_metric_says_what_to_do_in_one_line() -> None:
    for family in every_family().values():
        assert family.when.endswith("."), family.name
        assert "|" not in family.when + family.help, family.name
        assert "\n" not in family.when + family.help, family.name


def test_every_metric_that_the_page_names_exists() -> None:
    ours = [name for name in NAME.findall(PAGE.read_text()) if name.startswith("vsdk_trio_")]
    names = {family_of(name) for name in ours}
    assert names <= every_family().keys(), names - every_family().keys()


def test_every_metric_of_the_dashboard_exists() -> None:
    names = {family_of(name) for query in queries() for name in NAME.findall(query)}
    assert names <= every_family().keys(), names - every_family().keys()


def test_every_metric_is_in_the_dashboard() -> None:
    names = {family_of(name) for query in queries() for name in NAME.findall(query)}
    assert every_family().keys() - names == NOT_DRAWN


def test_the_dashboard_asks_for_labels_that_are_there() -> None:
    families = every_family()
    for query in queries():
        labels = {
            label.name for name in NAME.findall(query) for label in families[family_of(name)].labels
        }
        asked = {*SELECTED.findall(query)}
        asked |= {name for group in GROUPED.findall(query) for name in group.split(", ")}
        assert asked <= labels | LABELS_OF_ALL, query


def test_counters_are_asked_for_rates_and_histograms_for_quantiles() -> None:
    families = every_family()
    for query in queries():
        for name in NAME.findall(query):
            kind = families[family_of(name)].kind
            if kind == "counter":
                assert re.search(rf"(rate|increase)\({name}", query), query
            elif kind == "histogram":
                assert f"rate({name}" in query, query
                assert name.endswith("_bucket"), query
            elif kind == "gauge":
                assert not re.search(rf"(rate|increase)\({name}", query), query


def test_panels_do_not_overlap_and_have_their_own_ids() -> None:
    panels = dashboard()["panels"]
    ids = [panel["id"] for panel in panels]
    assert len({*ids}) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
