"""Where the worker touches the world: network, processes, randomness, signals, port.

A value that is handed in, so that the same worker runs against a simulated world on a mock clock.
"""

from __future__ import annotations

import random

import attrs

from ..backend.dialer import Dialer
from ..processes.edge import Spawner
from ..processes.spawn import SubprocessSpawner


@attrs.frozen(kw_only=True)
class Edges:
    """The real world by default."""

    dialer: Dialer | None = None
    """How to reach the registry; None: directly or through the proxy that the options name."""
    spawner: Spawner = attrs.field(factory=SubprocessSpawner)
    rng: random.Random = attrs.field(factory=random.Random)
    is_real: bool = True
    """False: no signals are watched, no port is opened, no guardian is started."""
