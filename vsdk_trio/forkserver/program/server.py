"""The loop of a template: forks on order, and reports pidfds and exit statuses.

Knows the socket, processes and signals. It does not know the loaded code, or what a forked process
does: there `serve` returns as well.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import sys
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ..orders import (
    MAX_ORDER_BYTES,
    Brief,
    ChildExited,
    Declined,
    Fork,
    Forked,
    ForkFailed,
    FromTemplate,
    TemplateReady,
    decode_order,
    encode_order,
)
from .child import settle_in
from .environment_marker import EnvironmentMarker

# It ends with its worker, at the end of the socket, and not before: a signal to the worker's whole
# service or container must not end the template.
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PIPES = 3
_INT_BYTES = 4


class ControlSocket:
    """The template's end: a packet is an order, and may carry descriptors."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def send(self, order: FromTemplate, *fds: int) -> bool:
        """Send an order; return False if the worker is gone."""
        try:
            socket.send_fds(self._socket, [encode_order(order)], fds)
        except OSError:
            return False
        return True

    def receive(self) -> tuple[Brief | Fork, list[int]] | None:
        """Wait for the next order and its descriptors; None if the worker is gone."""
        room = socket.CMSG_SPACE(_PIPES * _INT_BYTES)
        # Not `recv_fds`, which drops its flags: all processes would inherit the descriptors.
        try:
            packet, ancillary, _, _ = self._socket.recvmsg(
                MAX_ORDER_BYTES, room, socket.MSG_CMSG_CLOEXEC
            )
        except OSError:
            return None
        if not packet:
            return None
        fds: list[int] = []
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds += memoryview(data[: len(data) - len(data) % _INT_BYTES]).cast("i")
        order = decode_order(packet)
        assert isinstance(order, Brief | Fork), "the worker sends nothing else"
        return order, fds


class ForkServer:
    """Serves one worker.

    Args:
        control: The socket to the worker.
        marker: Where a fork shows its cookie and command line.
        decline: Called before each fork; returns a reason not to fork, or None.
    """

    def __init__(
        self, control: ControlSocket, marker: EnvironmentMarker, decline: Callable[[], str | None]
    ) -> None:
        self._control = control
        self._marker = marker
        self._decline = decline
        self._children: set[int] = set()
        self._handlers: dict[int, Any] = {}
        self._wake_reader = -1
        self._wake_writer = -1

    def serve(self, ready: TemplateReady) -> Fork | None:
        """Send `ready`, then serve until the worker is gone; in each fork, return its order."""
        self._take_signals()
        self._control.send(ready)
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._wake_reader, select.POLLIN)
        while True:
            readable = {fd for fd, _ in poll.poll()}
            # The dead first: an order needs their slots.
            if self._wake_reader in readable:
                with suppress(BlockingIOError):
                    os.read(self._wake_reader, 4096)
                if not self._reap_children():
                    return None
            if self._control.fileno() in readable:
                received = self._control.receive()
                if received is None:
                    return None
                order, pipes = received
                assert isinstance(order, Fork), "the brief comes once"
                if len(pipes) < _PIPES:  # the kernel drops those for which there is no room
                    text = "the template has no file descriptors left"
                    failed = ForkFailed(id=order.id, errno=errno.EMFILE, error=text)
                    self._control.send(failed)
                elif self._obey(order, pipes):
                    return order
                for fd in pipes:
                    os.close(fd)

    def _take_signals(self) -> None:
        # Handlers of the user's code are kept for the children.
        for number in _IGNORED:
            self._replace_handler(number, signal.SIG_IGN)
        self._replace_handler(signal.SIGCHLD, lambda *_: None)
        self._wake_reader, self._wake_writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(self._wake_writer, warn_on_full_buffer=False)

    def _replace_handler(self, number: signal.Signals, handler: Any) -> None:
        if (own := signal.getsignal(number)) is not None:  # else it is C's, and cannot be put back
            self._handlers[number] = own
            signal.signal(number, handler)

    def _reap_children(self) -> bool:
        """Kill the group of each dead child, reap and report it; False if the worker is gone."""
        while self._children:
            # Not reaped yet: until then its number, and its group's, cannot be given again.
            dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if dead is None:
                break
            if dead.si_pid in self._children:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(dead.si_pid, signal.SIGKILL)
            _, status = os.waitpid(dead.si_pid, 0)
            if dead.si_pid in self._children:  # else it is one that the user's code has started
                self._children.discard(dead.si_pid)
                code = os.waitstatus_to_exitcode(status)
                if not self._control.send(ChildExited(pid=dead.si_pid, returncode=code)):
                    return False
        return True

    def _obey(self, order: Fork, pipes: list[int]) -> bool:
        """Fork; return True in the child."""
        if (reason := self._decline()) is not None:
            self._control.send(Declined(id=order.id, reason=reason))
            return False
        # Or both would print what is in the buffers.
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):
                stream.flush()
        # A signal that comes before the child has its own handlers waits until it has them. The
        # other signals need no wait, and blocking all of them would take longer than the rest.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, self._handlers)
        try:
            pid = _fork()
            if pid == 0:
                self._become(order, pipes)
                return True
            pidfd = _handle_of(pid)
        except OSError as error:
            self._control.send(ForkFailed(id=order.id, errno=error.errno or 0, error=str(error)))
            return False
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        self._children.add(pid)
        self._control.send(Forked(id=order.id, pid=pid), pidfd)
        os.close(pidfd)
        return False

    def _become(self, order: Fork, pipes: list[int]) -> None:
        """In the child: close everything that belongs to the template."""
        try:
            self._control.close()
            settle_in(order, pipes, self._marker, self._handlers)
            os.close(self._wake_reader)
            os.close(self._wake_writer)
        except BaseException:
            # Whatever the error is, this process must not go on as a second template.
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)


def _handle_of(pid: int) -> int:
    """Return the pidfd of a new child. A child without one cannot be watched, and is killed."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def _fork() -> int:
    """Fork without a warning about threads: `fork_safety` has looked at them."""
    if sys.hexversion < 0x030C0000:
        return os.fork()
    with warnings.catch_warnings():
        # Python 3.12 and later warn about any thread, also about those that were found harmless. In
        # earlier versions this block would cost each child a dozen pages.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()
