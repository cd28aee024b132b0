"""The traces of a worker while it runs; without them, OpenTelemetry is not loaded.

Decides whether OpenTelemetry is loaded, and has the last spans sent, within a bound.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

from ...errors import OptionsError
from ...system.threads import run_in_thread
from ..events import Observation, Observers
from ..logs.loggers import get_logger
from .provider import WORKER_FLUSH_SECONDS, are_wanted, find_provider, flush

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

logger = get_logger(__name__)


class Traces(Protocol):
    """What the rest of a worker needs to know of them."""

    @property
    def are_on(self) -> bool:
        """Whether job processes are to make spans."""
        ...

    def begin(self, job_id: str, room_id: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """A job was accepted; returns what its process continues the trace by, {} for none."""
        ...


class NoTraces:
    """Traces are off."""

    are_on = False

    def begin(self, job_id: str, room_id: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Does nothing."""
        return {}


@asynccontextmanager
async def open_traces(
    option: bool | None, agent_id: str, observers: Observers[Observation]
) -> AsyncGenerator[Traces]:
    """Trace the jobs of a worker for the length of the block, if that is wanted.

    At its end the last spans are sent, for at most `WORKER_FLUSH_SECONDS`. Raises `OptionsError`
    where the option wants them and they cannot be had; where only the environment does, the log
    says so.
    """
    provider = await _provider(option, agent_id)
    if provider is None:
        yield NoTraces()
        return
    from .job_traces import JobTraces

    traces = JobTraces(provider, agent_id=agent_id)
    with observers.listening(traces):
        try:
            yield traces
        finally:
            traces.close()
            await flush(provider, seconds=WORKER_FLUSH_SECONDS)


async def _provider(option: bool | None, agent_id: str) -> TracerProvider | None:
    if not are_wanted(option, os.environ):
        return None
    try:
        # In a thread: it takes a tenth of a second to load.
        return await run_in_thread("load OpenTelemetry", find_provider, agent_id)
    except OptionsError as error:
        if option:
            raise
        logger.warning("no traces: %s", error)
        return None
