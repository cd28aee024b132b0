"""Signals become requests to the worker's `Shutdown`; nothing is decided in a handler."""

from __future__ import annotations

import threading
from signal import Signals

import trio

from ..system.signals import ending_signals
from ..system.stopping import Stage
from ..telemetry.logs.loggers import get_logger
from .shutdown import Shutdown

logger = get_logger(__name__)


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
        name, extra = Signals(signum).name, {"signal": signum}
        if not shutdown.signalled(signum):
            logger.info("%s changes nothing: %s", name, shutdown.stage.name.lower(), extra=extra)
        elif shutdown.stage is Stage.HURRYING:
            logger.warning("a second %s: every grace is cut short", name, extra=extra)
        else:
            logger.info("%s received: %s", name, shutdown.stage.name.lower(), extra=extra)
