"""Readings in the text forms that Prometheus reads; loads prometheus_client when first used.

To be called in a thread: loading takes a tenth of a second, and many series a while. Knows readings
and the library; not what is measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Final

import attrs

from .tallies import Distribution, Reading

if TYPE_CHECKING:
    from prometheus_client import Metric
    from prometheus_client.core import HistogramMetricFamily

_OPENMETRICS: Final = "application/openmetrics-text"


def render(readings: Iterable[Reading], accept: str = "") -> tuple[str, bytes]:
    """The readings as (content type, text), in the form that the `Accept` header asks for.

    OpenMetrics if `accept` asks for it, else the classic text format.
    """
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import choose_encoder

    registry = CollectorRegistry()
    registry.register(_Collector(tuple(readings)))
    # Not as it came: the library fails for a version that is none, and would echo it.
    media_types = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    wants_openmetrics = _OPENMETRICS in media_types
    encode, content_type = choose_encoder(f"{_OPENMETRICS}; version=1.0.0" * wants_openmetrics)
    return content_type, encode(registry)


@attrs.frozen(eq=False)  # the library keeps collectors by their identity
class _Collector:
    """What prometheus_client collects from: one scrape's readings."""

    readings: Sequence[Reading]

    def collect(self) -> Iterator[Metric]:
        return map(_as_metric, self.readings)


def _as_metric(reading: Reading) -> Metric:
    from prometheus_client import core

    family = reading.family
    names = [label.name for label in family.labels]
    match family.kind:
        case "histogram":
            histogram = core.HistogramMetricFamily(family.name, family.help, labels=names)
            for key, value in reading.values.items():
                assert isinstance(value, Distribution), family.name
                _add_distribution(histogram, family.buckets, key, value)
            return histogram
        case "info":
            info = core.InfoMetricFamily(family.name.removesuffix("_info"), family.help)
            for key in reading.values:
                info.add_metric([], dict(zip(names, key, strict=True)))
            return info
        case "counter":
            metric: core.CounterMetricFamily | core.GaugeMetricFamily
            metric = core.CounterMetricFamily(family.name, family.help, labels=names)
        case "gauge":
            metric = core.GaugeMetricFamily(family.name, family.help, labels=names)
    for key, value in reading.values.items():
        assert not isinstance(value, Distribution), family.name
        metric.add_metric(key, value)
    return metric


def _add_distribution(
    histogram: HistogramMetricFamily,
    bounds: Sequence[float],
    key: Sequence[str],
    value: Distribution,
) -> None:
    upto = [*(str(float(bound)) for bound in bounds), "+Inf"]
    buckets = list(zip(upto, map(float, accumulate(value.counts)), strict=True))
    histogram.add_metric(key, buckets, value.total)
