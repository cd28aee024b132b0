"""How far the shutdown of a worker has come, as events that its parts wait for.

Signals, the registry's refusals and the embedding program all end in `ask`. `_stopping.TABLE`
decides what a request does; the stage only ever advances.
"""

from __future__ import annotations

import signal

import trio

from ..system.stopping import Request, Stage, Stopping
from ..telemetry.events import Observe, ShutdownAdvanced, unobserved


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
