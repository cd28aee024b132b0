"""The seam between supervising a job process and how one comes to be.

Two protocols and a value. A subprocess, a forkserver's child and a simulated process in memory
all fit behind them; whoever supervises must not know which one it has.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol, TypeAlias, TypeVar, cast, overload

import attrs
import trio

from ..system.proc import COOKIE_VARIABLE

_T = TypeVar("_T", contravariant=True)

EXIT_UNKNOWN: Final = 256
"""The return code of a process whose end was seen, but not how it ended. None exits with it."""


NOT_INHERITED: Final = frozenset(
    {"VSDK_TRIO_DEBUG_TOKEN", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}
)
"""What would give a job power over the worker, or over what systemd thinks of it."""


@attrs.frozen(kw_only=True)
class Command:
    """What to start. Nothing secret: other users of the machine can read both parts."""

    argv: tuple[str, ...]
    cookie: str
    """Marks the process and all its descendants; unique to the process."""
    env_extra: Mapping[str, str] = attrs.field(factory=dict)


def environment_of(command: Command, inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment of a job process: the worker's, but for what is the worker's alone."""
    own = {*NOT_INHERITED, COOKIE_VARIABLE}
    kept = {name: value for name, value in inherited.items() if name not in own}
    # The cookie is the last one, where it stands in nobody's way: see `program.environment_marker`.
    return {**kept, **command.env_extra, COOKIE_VARIABLE: command.cookie}


class ProcessHandle(Protocol):
    """A started process, alive or not."""

    @property
    def pid(self) -> int:
        """Its process id, which is also that of its group."""
        ...

    @property
    def stdin(self) -> trio.abc.SendStream: ...

    @property
    def stdout(self) -> trio.abc.ReceiveStream: ...

    @property
    def stderr(self) -> trio.abc.ReceiveStream: ...

    @property
    def returncode(self) -> int | None:
        """None while it lives; then its exit code, minus the signal that ended it, or
        `EXIT_UNKNOWN`."""
        ...

    def signal_group(self, signum: int) -> None:
        """Signal the whole process group; never raises, does nothing once the process is gone."""
        ...

    def ask_for_stacks(self, signum: int) -> bool:
        """Send `signum` to the process alone, if it is known to catch it; whether it was sent."""
        ...

    def memory_mb(self) -> float | None:
        """What the process occupies in MiB; None once it is gone or where nobody can tell."""
        ...

    def cpu_seconds(self) -> float | None:
        """What the process has used of the CPU so far; None as for `memory_mb`."""
        ...

    def close(self) -> None:
        """Close the worker's ends of the three pipes. Idempotent, never raises."""
        ...


DeliverCancel: TypeAlias = Callable[[ProcessHandle], Awaitable[None]]


class Spawner(Protocol):
    """Starts processes and waits for them."""

    async def run(
        self,
        command: Command,
        *,
        deliver_cancel: DeliverCancel,
        task_status: trio.TaskStatus[ProcessHandle],
    ) -> int:
        """Run `command` to its end and return its return code.

        Calls `task_status.started(handle)` exactly once if a process came to be, also where the
        call was cancelled meanwhile. From then on the caller owns the pipes and must `close()`
        the handle; they stay open after the exit, so that what is in them can be read.

        Cancelled, it runs `deliver_cancel(handle)` in a shielded scope until the process is gone,
        and only then lets the cancellation go on. In every case the process group is killed after
        the exit. Raises `OSError` where nothing could be started.
        """
        ...


class OnStarted(trio.TaskStatus[_T]):
    """A task status that calls a function: what is started is in good hands at once.

    With `nursery.start` there is a moment, between `started()` and the caller's next step, in
    which a cancellation would lose the value.
    """

    def __init__(self, call: Callable[[_T], None]) -> None:
        self._call = call

    @overload
    def started(self: trio.TaskStatus[None]) -> None: ...

    @overload
    def started(self, value: _T) -> None: ...

    def started(self, value: _T | None = None) -> None:
        self._call(cast("_T", value))
