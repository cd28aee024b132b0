"""How far the shutdown of a worker has come, as events to wait for; signals ask for it, too.

Signals, the registry's refusals and the embedding program all end in `ask`. `stopping.TABLE`
decides what a request does; the stage only ever advances. Nothing is decided in a signal handler.
"""

from __future__ import annotations

import signal
import threading

import trio

from ..system.signals import ending_signals
from ..system.stopping import Request, Stage, Stopping
from ..telemetry.events import Observe, ShutdownAdvanced, unobserved
from ..telemetry.logs.loggers import get_logger

logger = get_logger(__name__)


class Shutdown:
    """The one place where it is decided that the worker ends; made inside a Trio run."""

    def __init__(self, observe: Observe = unobserved) -> None:
        self._observe = observe
        self._events = {stage: trio.Event() for stage in Stage}
        self._stopping = Stopping()
        self._reason = ""
        self._since: dict[Stage, float] = {}

    def __repr__(self) -> str:
        return f"<Shutdown {self.stage.name.lower()}>"

    @property
    def stage(self) -> Stage:
        return self._stopping.stage

    @property
    def reason(self) -> str:
        """Why the worker ends, as first asked for; empty while it serves."""
        return self._reason

    @property
    def since(self) -> float:
        """When the present stage was reached, on Trio's clock. Raises `KeyError` while serving."""
        return self._since[self.stage]

    def reached(self, stage: Stage) -> trio.Event:
        """The event that is set once `stage`, or a later one, has been reached."""
        return self._events[stage]

    def drain(self, reason: str) -> None:
        """Ask for a drain."""
        self.ask(Request.DRAIN, reason)

    def ask(self, request: Request, reason: str) -> bool:
        """Ask for the end; returns whether that has changed the stage. The first reason stays."""
        before = self.stage
        if not self._stopping.ask(request):
            return False
        self._reason = self._reason or reason
        for passed in Stage:
            if before < passed <= self.stage:
                self._since[passed] = trio.current_time()
                self._events[passed].set()
        self._observe(ShutdownAdvanced(stage=self.stage.name.lower(), reason=reason))
        return True

    def signalled(self, signum: int) -> bool:
        """Take a signal; returns whether it has changed the stage."""
        request = self._stopping.request_of(signum, trio.current_time())
        return self.ask(request, signal.Signals(signum).name)


async def watch_signals(
    shutdown: Shutdown, stopping: trio.Event, *, task_status: trio.TaskStatus[None]
) -> None:
    """Service body: hand SIGINT, SIGTERM and SIGHUP to `shutdown` until `stopping`.

    Python delivers signals to the main thread only; a worker embedded in another thread leaves
    them to the program around it.
    """
    if threading.current_thread() is not threading.main_thread():
        task_status.started()
        await stopping.wait()
        return
    with trio.open_signal_receiver(*ending_signals()) as signals:
        task_status.started()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_hand_over, signals, shutdown)
            await stopping.wait()
            nursery.cancel_scope.cancel()


async def _hand_over(signals: object, shutdown: Shutdown) -> None:
    async for signum in signals:  # type: ignore[attr-defined]  # trio does not name the receiver's type
        name, extra = signal.Signals(signum).name, {"signal": signum}
        if not shutdown.signalled(signum):
            logger.info("%s changes nothing: %s", name, shutdown.stage.name.lower(), extra=extra)
        elif shutdown.stage is Stage.HURRYING:
            logger.warning("a second %s: every grace is cut short", name, extra=extra)
        else:
            logger.info("%s received: %s", name, shutdown.stage.name.lower(), extra=extra)
