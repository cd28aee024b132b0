"""Where the worker touches the world: network, processes, disk, randomness, signals, port.

A value that is handed in, so that the same worker runs against a simulated world on a mock clock.
"""

from __future__ import annotations

import random

import attrs

from ..backend.dialer import Dialer
from ..journal.disk import Disk, ThreadedDisk
from ..processes.edge import Spawner
from ..processes.orphans import KernelProcessTable, ProcessTable
from ..processes.program import SubprocessSpawner
from ..system.cpu_quota import count_processors


@attrs.frozen(kw_only=True)
class WorkerEnvironment:
    """The real world by default."""

    dialer: Dialer | None = None
    """How to reach the registry; None: directly or through the proxy that the options name."""
    spawner: Spawner = attrs.field(factory=SubprocessSpawner)
    process_table: ProcessTable = attrs.field(factory=KernelProcessTable)
    """Where what a dead worker has left is found; asked only with a state directory."""
    disk: Disk = attrs.field(factory=ThreadedDisk)
    """Where the journal is; asked only with a state directory."""
    rng: random.Random = attrs.field(factory=random.Random)
    is_real: bool = True
    """False: no signals are watched, no port is opened, no guardian is started."""
    processors: int = attrs.field(
        default=attrs.Factory(
            lambda self: count_processors() if self.is_real else 2, takes_self=True
        )
    )
    """How many processors there are to start job processes on."""
