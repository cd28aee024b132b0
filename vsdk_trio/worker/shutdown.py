"""How far the shutdown of a worker has come, and what each signal means for it.

The stage only ever advances. Signals, the registry's refusals and the embedding program all end
in `advance`; everybody else waits for the event of the stage that concerns them.
"""

from __future__ import annotations

import signal
from enum import IntEnum

import trio

from ..observations import Observe, ShutdownAdvanced, unobserved


class Stage(IntEnum):
    """What the worker is doing about ending."""

    SERVING = 0
    DRAINING = 1  # takes nothing new, lets what runs finish
    STOPPING = 2  # stops what runs, politely
    HURRYING = 3  # every grace is cut short


class Shutdown:
    """The one place where it is decided that the worker ends; made inside a Trio run."""

    def __init__(self, observe: Observe = unobserved) -> None:
        self._observe = observe
        self._events = {stage: trio.Event() for stage in Stage}
        self._stage = Stage.SERVING
        self._reason = ""
        self._since: dict[Stage, float] = {}

    def __repr__(self) -> str:
        return f"<Shutdown {self._stage.name.lower()}>"

    @property
    def stage(self) -> Stage:
        return self._stage

    @property
    def reason(self) -> str:
        """Why the worker ends, as first asked for; empty while it serves."""
        return self._reason

    @property
    def since(self) -> float:
        """When the present stage was reached, on Trio's clock. Raises `KeyError` while serving."""
        return self._since[self._stage]

    def reached(self, stage: Stage) -> trio.Event:
        """The event that is set once `stage`, or a later one, has been reached."""
        return self._events[stage]

    def advance(self, stage: Stage, reason: str) -> None:
        """Go on to `stage`; does nothing when it is already reached. The first reason stays."""
        self._reason = self._reason or reason
        for passed in Stage:
            if self._stage < passed <= stage:
                self._since[passed] = trio.current_time()
                self._events[passed].set()
        if stage > self._stage:
            self._stage = stage
            self._observe(ShutdownAdvanced(stage=stage.name.lower(), reason=reason))

    def signalled(self, signum: int) -> None:
        """SIGTERM drains, SIGINT stops; a second signal of either kind stops and hurries."""
        name = signal.Signals(signum).name
        if self._stage is not Stage.SERVING:
            self.advance(Stage.HURRYING, name)
        elif signum == signal.SIGINT:
            self.advance(Stage.STOPPING, name)
        else:
            self.advance(Stage.DRAINING, name)
