"""What a process says of itself in a scrape: its use of the machine, and the versions in it.

The names are those that Prometheus gives them. psutil is loaded by the first scrape.
"""

from __future__ import annotations

import platform
from typing import Final

import trio

from ... import __version__
from .tallies import Family, Label, Reading

CPU: Final = Family(
    name="process_cpu_seconds_total",
    kind="counter",
    help="CPU time used by the process, user and system, in seconds.",
    when="An idle worker uses almost none; a busy worker delays every answer.",
)
RESIDENT: Final = Family(
    name="process_resident_memory_bytes",
    kind="gauge",
    help="Resident memory of the process.",
    when="It grows for days while jobs come and go: please report a bug.",
)
VIRTUAL: Final = Family(
    name="process_virtual_memory_bytes",
    kind="gauge",
    help="Virtual memory of the process.",
    when="Only useful with a limit on it.",
)
OPEN_FDS: Final = Family(
    name="process_open_fds",
    kind="gauge",
    help="Open file descriptors of the process; each job process takes three.",
    when="Near process_max_fds: no more job processes start; raise the limit of open files.",
)
MAX_FDS: Final = Family(
    name="process_max_fds",
    kind="gauge",
    help="Limit of open file descriptors of the process.",
    when="Draw it beside the open file descriptors.",
)
STARTED: Final = Family(
    name="process_start_time_seconds",
    kind="gauge",
    help="Start time of the process, as Unix time.",
    when="A change means a restart.",
)
BUILD: Final = Family(
    name="vsdk_trio_build_info",
    kind="info",
    help="The versions of vsdk_trio, Python and Trio; the value is 1.",
    labels=(Label("version", ()), Label("python", ()), Label("trio", ())),
    when="Shows how far a rollout is.",
)


def read_own_process() -> tuple[Reading, ...]:
    """The figures of this process. Makes system calls: better called in a thread."""
    import resource

    import psutil

    process = psutil.Process()
    with process.oneshot():
        cpu, memory = process.cpu_times(), process.memory_info()
        figures = {
            CPU: cpu.user + cpu.system,
            RESIDENT: memory.rss,
            VIRTUAL: memory.vms,
            OPEN_FDS: process.num_fds(),
            STARTED: process.create_time(),
        }
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit != resource.RLIM_INFINITY:
        figures[MAX_FDS] = limit
    return tuple(Reading(family, {(): float(value)}) for family, value in figures.items())


def read_build() -> Reading:
    """Which versions run here."""
    return Reading(BUILD, {(__version__, platform.python_version(), trio.__version__): 1.0})
