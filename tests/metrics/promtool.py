"""What `promtool check metrics` checks, and more, on text as it is scraped."""

from __future__ import annotations

import re
from collections.abc import Iterable

from prometheus_client import Metric
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

NAME = re.compile(r"[a-z][a-z0-9_]*")
UNITS_THAT_ARE_NOT_BASE = (
    *("milliseconds", "microseconds", "minutes", "hours", "ms", "us"),
    *("kilobytes", "megabytes", "mb", "kb", "mib", "percent"),
)
# Labels that a whole fleet would drown in.
ID_LABELS = {"job_id", "room_id", "pid", "session", "error"}


def parsed(text: str, content_type: str) -> list[Metric]:
    """The metrics in the text; raises for what is no such text."""
    parse = parse_openmetrics if "openmetrics" in content_type else parse_text
    return list(parse(text))


def complaints(metrics: Iterable[Metric]) -> list[str]:
    """Everything that the conventions have against these metrics."""
    found = []
    for metric in metrics:
        name = metric.name
        if not NAME.fullmatch(name):
            found.append(f"{name}: is no name")
        if not metric.documentation:
            found.append(f"{name}: has no HELP")
        if not metric.documentation.endswith("."):
            found.append(f"{name}: its HELP is no sentence")
        if metric.type == "unknown":
            found.append(f"{name}: has no TYPE")
        words = name.split("_")
        found += [f"{name}: {unit}" for unit in UNITS_THAT_ARE_NOT_BASE if unit in words]
        found += [f"{name}: {word} is no part of it" for word in (metric.type,) if word in words]
        if metric.type == "counter" and not all(
            sample.name.endswith(("_total", "_created")) for sample in metric.samples
        ):
            found.append(f"{name}: a counter ends in _total")
        if metric.type != "counter" and name.endswith("_total"):
            found.append(f"{name}: only a counter ends in _total")
        if metric.type == "histogram" and not name.endswith("_seconds"):
            found.append(f"{name}: a histogram without a unit")
        series = [(s.name, tuple(sorted(s.labels.items()))) for s in metric.samples]
        found += [f"{name}: twice: {one}" for one in set(series) if series.count(one) > 1]
        labels = {label for sample in metric.samples for label in sample.labels}
        found += [f"{name}: unbounded label {label}" for label in labels & ID_LABELS]
        found += _of_buckets(metric)
    names = [metric.name for metric in metrics]
    return found + [f"{name}: twice" for name in set(names) if names.count(name) > 1]


def _of_buckets(metric: Metric) -> list[str]:
    """Buckets must be cumulative, end in +Inf, and that one is the count."""
    if metric.type != "histogram":
        return []
    series: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = {}
    counts = {}
    for sample in metric.samples:
        labels = {name: value for name, value in sample.labels.items() if name != "le"}
        key = tuple(sorted(labels.items()))
        if sample.name.endswith("_bucket"):
            series.setdefault(key, []).append((float(sample.labels["le"]), sample.value))
        elif sample.name.endswith("_count"):
            counts[key] = sample.value
    found = []
    for key, buckets in series.items():
        if buckets != sorted(buckets) or [v for _, v in buckets] != sorted(v for _, v in buckets):
            found.append(f"{metric.name}{key}: not cumulative")
        if buckets[-1] != (float("inf"), counts[key]):
            found.append(f"{metric.name}{key}: +Inf is not the count")
    return found
