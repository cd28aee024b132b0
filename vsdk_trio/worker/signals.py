"""Signals become requests to the worker's `Shutdown`; nothing is decided in a handler."""

from __future__ import annotations

import threading

import trio

from .._loggers import get_logger
from .._signals import ending_signals
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
        shutdown.signalled(signum)
        logger.info("signal received: %s", shutdown.stage.name.lower(), extra={"signal": signum})
