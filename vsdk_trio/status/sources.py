"""What the status server asks of a worker. Knows no worker, and loads nothing of the HTTP stack."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from ..telemetry.events import Observation, Observers
from ..telemetry.metrics.tallies import Reading
from .history import History
from .view import LineView, WorkerView


def _no_lines(number: int) -> tuple[int, Sequence[LineView]]:
    return number, ()


@attrs.frozen(kw_only=True)
class StatusSources:
    """Functions that are asked at each request, and never block."""

    look: Callable[[], WorkerView]
    drain: Callable[[str], None]
    """Take nothing new and end once what runs has ended; the argument says who asked."""
    history: History
    observers: Observers[Observation]
    """For listeners that need an event at once."""
    lines_since: Callable[[int], tuple[int, Sequence[LineView]]] = _no_lines
    """The lines of the log after the one of this number, and the number of the newest."""
    lines_of: Callable[[str], Sequence[LineView]] = lambda job_id: ()
    """The last lines of the log that belong to the job of this id, as far as kept."""
    measure: Callable[[], tuple[Reading, ...]] = tuple
    """What `/metrics` shows, but for the figures of the process itself."""
    debug_token: str | None = attrs.field(default=None, repr=False)
    """The token that other machines need for routes with jobs; None: they are refused."""
