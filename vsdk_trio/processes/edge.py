"""The interface between the supervision of a job process and the way in which it is started.

A subprocess, a fork of a template and a simulated process in memory all fit behind it. The code
that supervises does not know which one it has.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol, TypeAlias, TypeVar, cast, overload

import attrs
import trio

from ..system.proc import COOKIE_VARIABLE

_T = TypeVar("_T", contravariant=True)

EXIT_UNKNOWN: Final = 256
"""The return code of a process that has ended, if it is unknown how. No process exits with it."""


NOT_INHERITED: Final = frozenset(
    {"VSDK_TRIO_DEBUG_TOKEN", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}
)
"""Variables that would give a job power over the worker, or over its state in systemd."""


@attrs.frozen(kw_only=True)
class Command:
    """The program to start. It holds no secret, because other users can read all of it."""

    argv: tuple[str, ...]
    cookie: str
    """Marks the process and all its descendants; unique to the process."""
    env_extra: Mapping[str, str] = attrs.field(factory=dict)


def environment_of(command: Command, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a job process: the worker's, without the worker's own variables."""
    own = {*NOT_INHERITED, COOKIE_VARIABLE}
    kept = {name: value for name, value in inherited.items() if name not in own}
    # The cookie is last, so that null bytes behind it hide no other: see `environment_marker`.
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
        """None while it lives; then its exit code, minus its signal, or `EXIT_UNKNOWN`."""
        ...

    def signal_group(self, signum: int) -> None:
        """Signal the whole process group; never raises, does nothing once the process is gone."""
        ...

    def ask_for_stacks(self, signum: int) -> bool:
        """Send `signum` to the process alone, if it handles it; return whether it was sent."""
        ...

    def memory_mb(self) -> float | None:
        """Return the memory of the process in MiB; None once it is gone, or if it is unknown."""
        ...

    def cpu_seconds(self) -> float | None:
        """Return the CPU time that the process has used, in seconds; None as for `memory_mb`."""
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
        """Run a program to its end.

        Cancelled, it runs `deliver_cancel(handle)` in a shielded scope until the process is gone,
        and raises `Cancelled` then. The process group is killed after the exit in every case.

        Args:
            command: The program.
            deliver_cancel: Ends the process.
            task_status: Gets the handle exactly once if a process was started, also if the call
                was cancelled meanwhile. From then on the caller owns the pipes and must `close()`
                the handle. Pipes stay open after the exit, so that their content can be read.

        Returns:
            The return code.

        Raises:
            OSError: No process could be started.
        """
        ...


class OnStarted(trio.TaskStatus[_T]):
    """A task status that calls a function with the value, at once.

    With `nursery.start`, a cancellation between `started()` and the caller's next step loses the
    value.
    """

    def __init__(self, call: Callable[[_T], None]) -> None:
        self._call = call

    @overload
    def started(self: trio.TaskStatus[None]) -> None: ...

    @overload
    def started(self, value: _T) -> None: ...

    def started(self, value: _T | None = None) -> None:
        self._call(cast("_T", value))
