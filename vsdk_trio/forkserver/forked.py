"""One forked job process, held by its pidfd, which cannot come to mean another process.

The process is a child of the template, so the template reports its exit status. If the template has
died, the kernel tells it, if it is new enough. Linux only. Knows neither the template's socket nor
jobs.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import trio

from ..processes.edge import EXIT_UNKNOWN
from ..processes.memory import GroupMemory, used_cpu_seconds
from ..system import proc

STATUS_SECONDS: Final = 3.0
"""Seconds that a template may take to report the status of a process that has ended."""

_KERNEL_TRIES: Final = 20
_KERNEL_TRY_SECONDS: Final = 0.05
# <linux/pidfd.h>
_PROCESS_GROUP: Final = 1 << 2  # PIDFD_SIGNAL_PROCESS_GROUP, Linux 6.9
_INFO_EXIT: Final = 1 << 3  # PIDFD_INFO_EXIT, Linux 6.15
_INFO_BYTES: Final = 64
_EXIT_CODE_AT: Final = 60
_GET_INFO: Final = (3 << 30) | (_INFO_BYTES << 16) | (0xFF << 8) | 11  # PIDFD_GET_INFO


class ForkedHandle:
    """A `ProcessHandle`; owns the pidfd, and the worker's ends of the three pipes."""

    def __init__(self, pid: int, pidfd: int, pipes: tuple[int, int, int]) -> None:
        self._pid = pid
        self._pidfd = pidfd
        self._stdin, self._stdout, self._stderr = map(trio.lowlevel.FdStream, pipes)
        self._group_exists = True
        self._memory = GroupMemory(pid)
        self._returncode: int | None = None
        self._reported: int | None = None
        self._template_lost = False
        self._reported_event = trio.Event()

    @property
    def pid(self) -> int:
        return self._pid

    @property
    def stdin(self) -> trio.abc.SendStream:
        return self._stdin

    @property
    def stdout(self) -> trio.abc.ReceiveStream:
        return self._stdout

    @property
    def stderr(self) -> trio.abc.ReceiveStream:
        return self._stderr

    @property
    def returncode(self) -> int | None:
        return self._returncode

    def signal_group(self, signum: int) -> None:
        if self._group_exists:
            with suppress(ProcessLookupError, PermissionError):
                self._send(signum)

    def _send(self, signum: int) -> None:
        try:
            try:
                signal.pidfd_send_signal(self._pidfd, signum, None, _PROCESS_GROUP)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                # An older kernel. The number is right until the process is reaped, and a template
                # kills the group before it reaps.
                if not self._is_alive() and not self._template_lost:
                    return
                os.killpg(self._pid, signum)
        except ProcessLookupError:
            # It does not lead its group yet, or it is gone.
            signal.pidfd_send_signal(self._pidfd, signum)

    def end_group(self) -> None:
        """Kill the rest of the group of a process that is gone, and never signal it again."""
        if self._group_exists:
            self.signal_group(signal.SIGKILL)
            self._group_exists = False
            os.close(self._pidfd)

    def ask_for_stacks(self, signum: int) -> bool:
        # Until it is reaped, the number is its own.
        if not self._is_alive() or not proc.catches_signal(self._pid, signum):
            return False
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signum)
            return True
        return False

    def memory_mb(self) -> float | None:
        return self._measured(lambda _: self._memory.look())

    def cpu_seconds(self) -> float | None:
        return self._measured(used_cpu_seconds)

    def _measured(self, measure: Callable[[int], float | None]) -> float | None:
        if not self._is_alive():
            return None
        value = measure(self._pid)
        # If it still lives, this was its own value and not that of a later process.
        return value if self._is_alive() else None

    def close(self) -> None:
        for stream in (self._stdin, self._stdout, self._stderr):
            stream.close()

    def _is_alive(self) -> bool:
        if not self._group_exists:
            return False
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return not poll.poll(0)

    # Reports of its template.

    def report(self, returncode: int) -> None:
        """The template has reaped it."""
        self._reported = returncode
        self._reported_event.set()

    def lose_template(self) -> None:
        """The template is gone and will report no exit status."""
        self._template_lost = True
        self._reported_event.set()

    async def wait_ended(self) -> None:
        """Wait until the process has ended; its output may still have to be read."""
        await trio.lowlevel.wait_readable(self._pidfd)

    async def wait_reported(self) -> bool:
        """Wait up to `STATUS_SECONDS` for the template's report; return whether it came."""
        with trio.move_on_after(STATUS_SECONDS):
            await self._reported_event.wait()
        return self._reported_event.is_set()

    async def learn_returncode(self) -> int:
        """Return how it ended; call it after `wait_ended` and `wait_reported`."""
        if self._reported is None:
            self._reported = await self._ask_kernel()
        self._returncode = self._reported
        return self._returncode

    async def _ask_kernel(self) -> int:
        """The kernel keeps the status until process 1 reaps it; a new kernel keeps it longer."""
        for _ in range(_KERNEL_TRIES):
            status = self._status_of_zombie()
            if status is None:
                status = self._status_of_reaped()
            if status is not None:
                return os.waitstatus_to_exitcode(status)
            await trio.sleep(_KERNEL_TRY_SECONDS)
        return EXIT_UNKNOWN

    def _status_of_zombie(self) -> int | None:
        stat = proc.read_stat(self._pid)
        try:
            # If it can be signalled now, that was not a later process with the same number.
            signal.pidfd_send_signal(self._pidfd, 0)
        except OSError:
            return None
        return stat.wait_status if stat is not None and stat.is_zombie else None

    def _status_of_reaped(self) -> int | None:
        info = bytearray(_INFO_BYTES)
        struct.pack_into("Q", info, 0, _INFO_EXIT)
        try:
            # Imported late: most workers never come here.
            import fcntl

            fcntl.ioctl(self._pidfd, _GET_INFO, info, True)
        except OSError:
            return None  # it is too old
        if not struct.unpack_from("Q", info)[0] & _INFO_EXIT:
            return None
        return int(struct.unpack_from("i", info, _EXIT_CODE_AT)[0])
