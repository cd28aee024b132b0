"""One template, as the worker sees it: its process, its socket, and the processes it has forked.

A packet on the socket is an order, and may carry descriptors.
"""

from __future__ import annotations

import array
import errno
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from itertools import count
from typing import Final, TypeAlias

import attrs
import trio

from .._service import first_of
from ..processes.edge import Command, OnStarted, environment_of
from ..processes.exit import signal_name
from ..processes.job_log import JobLog, pump_stderr
from ..processes.program import Program, run_program
from ..system.shortages import resource_of, shortage
from ..telemetry.logs.loggers import get_logger
from .forked import ForkedHandle
from .orders import (
    COOKIE_ROOM,
    MAX_ORDER_BYTES,
    Brief,
    ChildExited,
    Declined,
    Fork,
    Forked,
    ForkFailed,
    FromTemplate,
    TemplateFailed,
    TemplateReady,
    ToTemplate,
    decode_order,
    encode_order,
)

_FDS_ROOM: Final = socket.CMSG_SPACE(4 * array.array("i").itemsize)


class TemplateLink:
    """Owns the socket. Sends from any task; receives in a single one."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = trio.socket.from_stdlib_socket(sock)
        self._sending = trio.Lock()

    def close(self) -> None:
        """Close it; tasks that wait here get `trio.ClosedResourceError`. Idempotent."""
        self._socket.close()

    async def send(self, order: ToTemplate, fds: Sequence[int] = ()) -> None:
        """Send one order, and copies of `fds` with it. Cancelled, it was not sent.

        Raises:
            FrameError: It is too long.
            trio.BrokenResourceError: The template is gone.
            trio.ClosedResourceError: This end is closed.
        """
        packet = encode_order(order)
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))
        try:
            self._sending.acquire_nowait()
        except trio.WouldBlock:
            await self._sending.acquire()
        try:
            await self._socket.sendmsg([packet], [rights] if fds else [])
        except OSError as error:
            raise trio.BrokenResourceError("the template is gone") from error
        finally:
            self._sending.release()

    async def receive(self) -> tuple[FromTemplate, list[int]] | None:
        """Wait for the next order and its descriptors, which the caller then owns.

        The result is None if the template is gone or this end is closed.
        """
        for _ in range(2):
            try:
                packet, ancillary, _, _ = await self._socket.recvmsg(
                    MAX_ORDER_BYTES, _FDS_ROOM, socket.MSG_CMSG_CLOEXEC
                )
            except ConnectionResetError:
                # It has died with orders unread. Its earlier messages come now.
                continue
            except (OSError, trio.ClosedResourceError):
                return None
            break
        else:
            return None
        if not packet:
            return None
        fds = array.array("i")
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
        order = decode_order(packet)
        return order, list(fds)  # type: ignore[return-value]  # a template sends nothing else


ORDER_SECONDS: Final = 3.0
"""Seconds that a template may take to answer an order."""

logger = get_logger("vsdk_trio.template")

_Answer: TypeAlias = ForkedHandle | ForkFailed | Declined


@attrs.frozen
class _Pending:
    """A fork that was ordered: the worker's ends of its pipes, and where the answer goes."""

    pipes: tuple[int, int, int]
    answer: trio.MemorySendChannel[_Answer]


class Template:
    """A running template process. Made by `run_template`, which owns it."""

    def __init__(
        self, pid: int, kill: Callable[[], None], link: TemplateLink, environ: Mapping[str, str]
    ) -> None:
        self._kill = kill
        self._link = link
        self._environ = environ
        self._ids = count(1)
        self._pending: dict[int, _Pending] = {}
        self._children: dict[int, ForkedHandle] = {}
        self.pid = pid
        self.ready = trio.Event()
        """Set when it has loaded its code and takes orders."""
        self.over = trio.Event()
        """Set when it forks no more; it stays until the last of its processes has ended."""
        self.why = ""
        """Why it forks no more, once it does not."""
        self.lasting = False
        """Another one of the same code would end in the same way."""

    async def fork(self, command: Command) -> ForkedHandle | None:
        """Fork a job process.

        Cancellation waits for the answer, for at most `ORDER_SECONDS`.

        Returns:
            The process; None if the template declines or is gone. It is `over` then.

        Raises:
            ShortageError: The system is short of something; a later fork may succeed.
            OSError: The system refuses.
            FrameError: The command is too long to send.
        """
        try:
            return await self._fork(command)
        except OSError as error:
            if (resource := resource_of(error, is_starting=True)) is None:
                raise
            raise shortage(resource, "fork a job process", error.strerror) from error

    async def _fork(self, command: Command) -> ForkedHandle | None:
        with ExitStack() as ours, ExitStack() as theirs:
            ends: list[tuple[int, int]] = []
            for outgoing in (True, False, False):
                reader, writer = os.pipe()
                mine, its = (writer, reader) if outgoing else (reader, writer)
                ours.callback(os.close, mine)
                theirs.callback(os.close, its)
                ends.append((mine, its))
            order = Fork(
                id=next(self._ids),
                cookie=command.cookie,
                argv=list(command.argv),
                env=_changes(self._environ, environment_of(command, os.environ)),
            )
            (stdin, stdout, stderr) = (mine for mine, _ in ends)
            answer = await self._ask(order, (stdin, stdout, stderr), [its for _, its in ends])
            match answer:
                case ForkedHandle():
                    ours.pop_all()
                    return answer
                case ForkFailed():
                    raise OSError(answer.errno, f"the template cannot fork: {answer.error}")
                case Declined():
                    logger.info("replaced: %s", answer.reason, extra={"pid": self.pid})
                    self.retire(answer.reason)
            self._let_go_if_idle()
            return None

    async def _ask(
        self, order: Fork, pipes: tuple[int, int, int], fds: list[int]
    ) -> _Answer | None:
        send, receive = trio.open_memory_channel[_Answer](1)
        self._pending[order.id] = _Pending(pipes, send)
        try:
            with trio.move_on_after(ORDER_SECONDS, shield=True):
                await self._link.send(order, fds)
                return await receive.receive()
            with suppress(trio.WouldBlock):
                return receive.receive_nowait()
            self.kill(f"it did not obey within {ORDER_SECONDS:g} s")
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.EndOfChannel):
            pass  # it is gone; its owner says why
        finally:
            del self._pending[order.id]
            send.close()
        return None

    async def wait_child(self, handle: ForkedHandle) -> int:
        """Wait for the end of a process that was forked here, and return its return code."""
        await handle.wait_ended()
        if not await handle.wait_reported():
            self.kill("it did not tell how a process has ended")
            handle.lose_template()
        return await handle.learn_returncode()

    def forget_child(self, handle: ForkedHandle) -> None:
        """Forget a process that is gone."""
        if self._children.get(handle.pid) is handle:
            del self._children[handle.pid]
        self._let_go_if_idle()

    def retire(self, why: str, *, lasting: bool = False) -> None:
        """Fork no more; end with the last process that was forked here."""
        if not self.over.is_set():
            self.why, self.lasting = why, lasting
            self.over.set()
        self._let_go_if_idle()

    def kill(self, why: str) -> None:
        """End it now. What it has forked goes on."""
        logger.warning("killed, because %s", why, extra={"pid": self.pid})
        self.retire(why)
        self._kill()

    def _let_go_if_idle(self) -> None:
        if self.over.is_set() and not self._children and not self._pending:
            self._link.close()

    # The rest is for the owner, below.

    async def converse(self, brief: Brief) -> None:
        """Send the brief, then handle its messages until it is gone."""
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self._link.send(brief)
        while (received := await self._link.receive()) is not None:
            order, fds = received
            match order:
                case TemplateReady():
                    for warning in order.warnings:
                        logger.warning("%s", warning)
                    logger.info("ready after %.2f s", order.seconds, extra={"pid": self.pid})
                    self.ready.set()
                case TemplateFailed():
                    self.retire(order.reason, lasting=order.lasting)
                case Forked() if fds:
                    self._adopt(order, fds[0])
                case Forked():
                    self._disown(order)
                case ForkFailed() | Declined():
                    if (pending := self._pending.get(order.id)) is not None:
                        pending.answer.send_nowait(order)
                case ChildExited():
                    if (child := self._children.get(order.pid)) is not None:
                        child.report(order.returncode)

    def _disown(self, order: Forked) -> None:
        """Give up a process whose pidfd found no room here: it cannot be watched.

        The process finds its pipes closed and ends. The template reaps it.
        """
        if (pending := self._pending.get(order.id)) is not None:
            text = "the worker has no file descriptors left"
            failed = ForkFailed(id=order.id, errno=errno.EMFILE, error=text)
            pending.answer.send_nowait(failed)

    def _adopt(self, order: Forked, pidfd: int) -> None:
        if (pending := self._pending.get(order.id)) is None:
            # The order was given up, and no other code knows the process.
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            os.close(pidfd)
            return
        handle = ForkedHandle(order.pid, pidfd, pending.pipes)
        self._children[order.pid] = handle
        pending.answer.send_nowait(handle)

    async def bound_loading(self, seconds: float) -> None:
        """Kill it if it does not finish loading in time."""
        with trio.move_on_after(seconds):
            await first_of(self.ready.wait, self.over.wait)
            return
        self.kill(f"its code was not loaded within {seconds:g} s")

    def end(self, returncode: int) -> None:
        """The process is gone."""
        if not self.over.is_set():
            cause = signal_name(returncode) or f"exit code {returncode}"
            logger.warning("ended by itself: %s", cause, extra={"pid": self.pid})
            self.retire(f"it ended by itself: {cause}")
        for pending in self._pending.values():
            pending.answer.close()
        for child in self._children.values():
            child.lose_template()


def _changes(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str | None]:
    """Return the variables to set, and those to unset (None), that turn `before` into `now`."""
    changed = {name: value for name, value in now.items() if before.get(name) != value}
    return {**dict.fromkeys(before.keys() - now.keys()), **changed}


_GOODBYE_SECONDS: Final = 1.0


@attrs.frozen(kw_only=True)
class TemplateSettings:
    """The settings of all templates of a worker."""

    argv: tuple[str, ...]
    """How to start one; the number of its socket is added."""
    brief: Brief
    load_seconds: float
    """Seconds that it may take to load what the brief names."""


async def run_template(
    settings: TemplateSettings,
    cookie: str,
    *,
    task_status: trio.TaskStatus[Template] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Own one template process to its end: start it, give it orders, log its output.

    Cancelled, it closes the socket, kills a process that does not end, and raises `Cancelled`.

    Args:
        settings: The program and its brief.
        cookie: The environment marker of the process.
        task_status: Gets the `Template` once it is started.

    Raises:
        OSError: It cannot be started.
    """
    # The cookie comes last. Programs that stop reading at its null bytes have then read all other
    # variables.
    command = Command(argv=settings.argv, cookie=cookie.ljust(COOKIE_ROOM, "."))
    environ = environment_of(command, os.environ)
    failure: OSError | None = None
    with ExitStack() as stack:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stack.callback(theirs.close)
        link = TemplateLink(ours)
        stack.callback(link.close)
        async with trio.open_nursery() as nursery:
            hearing = trio.CancelScope(shield=True)
            templates: list[Template] = []

            def adopt(process: Program) -> None:
                theirs.close()  # so that the end of the process is the end of the socket
                template = Template(process.pid, process.kill, link, environ)
                stack.callback(process.close)
                stack.callback(lambda: template.end(process.returncode or 0))
                nursery.start_soon(_listen, template, process, settings, hearing)
                nursery.start_soon(template.bound_loading, settings.load_seconds)
                templates.append(template)
                task_status.started(template)

            async def let_go(process: Program) -> None:
                try:
                    templates[0].retire("the worker is stopping")
                    link.close()  # which is what it waits for
                    await trio.sleep(_GOODBYE_SECONDS)
                finally:
                    process.kill()

            try:
                await run_program(
                    [*settings.argv, str(theirs.fileno())],
                    "start a template",
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    pass_fds=[theirs.fileno()],
                    env=environ,
                    deliver_cancel=let_go,
                    task_status=OnStarted(adopt),
                )
            except OSError as error:
                failure = error
            finally:
                # Its last messages, about processes that it has forked, may still be on the way.
                hearing.deadline = trio.current_time() + _GOODBYE_SECONDS
                nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _listen(
    template: Template, process: Program, settings: TemplateSettings, scope: trio.CancelScope
) -> None:
    assert process.stdout is not None, "asked for with PIPE"
    with scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pump_stderr, process.stdout, JobLog(logger, process.pid))
            await template.converse(settings.brief)
