"""What goes wrong during a soak: one fault at a time, drawn from a seed, over after seconds."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress

import attrs
import psutil
import trio

from ..system.conftest import Program, Programs
from .proxy import FaultyProxy, Weather
from .registry_life import RegistryLife

# Long enough for the heartbeat of the soak's worker to notice.
HOLE_SECONDS = 5.0
STOP_SECONDS = 1.5


@attrs.define(kw_only=True)
class Trouble:
    """Makes trouble for one worker, and counts it."""

    programs: Programs
    worker: Program
    proxy: FaultyProxy
    registry: RegistryLife
    rng: random.Random
    made: Counter[str] = attrs.field(factory=Counter)
    killed: set[int] = attrs.field(factory=set)
    """The job processes that were killed, idle or not."""

    async def make_one(self) -> None:
        """Draw a fault, let it happen, and undo what can be undone."""
        faults = list(self._faults().items())
        (name, fault) = self.rng.choices(faults, weights=[w for _, (w, _) in faults])[0]
        self.made[name] += 1
        try:
            await fault[1]()
        finally:
            self.proxy.heal()

    def _faults(self) -> dict[str, tuple[int, Callable[[], Awaitable[None]]]]:
        return {
            "link reset": (3, self._reset),
            "link closed": (1, self._close),
            "link black hole": (1, self._black_hole),
            "link slow": (2, self._slow),
            "link cut after n bytes": (2, self._cut),
            "registry killed and restarted": (2, self._restart_registry),
            "registry stopped for a while": (1, self._stop_registry),
            "job process killed": (6, self._kill_job),
            "job process stopped for a while": (3, self._stop_job),
            "worker stopped for a while": (1, self._stop_worker),
            "guardian killed": (1, self._kill_guardian),
        }

    async def _reset(self) -> None:
        self.proxy.reset()
        await trio.sleep(0.1)

    async def _close(self) -> None:
        self.proxy.close()
        await trio.sleep(0.1)

    async def _black_hole(self) -> None:
        self.proxy.black_hole()
        await trio.sleep(HOLE_SECONDS)

    async def _slow(self) -> None:
        self.proxy.weather = Weather(bytes_per_second=2000.0, delay=0.1)
        await trio.sleep(3)

    async def _cut(self) -> None:
        # Through the upgrade, the registration, or a little of what comes after.
        self.proxy.cut_after(self.rng.randrange(1, 4000))
        self.proxy.reset()
        await trio.sleep(2)

    async def _restart_registry(self) -> None:
        await self.registry.kill()
        await trio.sleep(self.rng.uniform(0, 1))
        await self.registry.start()

    async def _stop_registry(self) -> None:
        await self._pause(self.registry.pid)

    async def _stop_worker(self) -> None:
        await self._pause(self.worker.pid)

    async def _kill_job(self) -> None:
        if processes := self.programs.job_processes():
            process = self.rng.choice(processes)
            self.killed.add(process.pid)
            with suppress(psutil.NoSuchProcess):
                process.kill()
        await trio.lowlevel.checkpoint()

    async def _stop_job(self) -> None:
        if processes := self.programs.job_processes():
            await self._pause(self.rng.choice(processes).pid)

    async def _kill_guardian(self) -> None:
        for guardian in self.programs.guardians():
            with suppress(psutil.NoSuchProcess):
                guardian.kill()
        await trio.lowlevel.checkpoint()

    async def _pause(self, pid: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
        try:
            await trio.sleep(STOP_SECONDS)
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
