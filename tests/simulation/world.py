"""One simulated world: real workers and a real registry, on a simulated network and processes.

`run_world` runs a schedule and returns what happened; what of it is wrong is for `promises`.
"""

from __future__ import annotations

import random
from functools import partial

import trio

from vsdk_trio.registry.actions import DispatchError
from vsdk_trio.registry.ledger import DispatchRequest
from vsdk_trio.testing.network import Weather
from vsdk_trio.testing.pipes import Agenda

from .chance import run_determined
from .faults import Faults
from .lives import AGENT, Life
from .logs import watched_logs
from .promises import hold_to_promises
from .registries import Registries, stray
from .schedule import JobPlan, Schedule
from .trace import Trace

CALM = Weather(delay_seconds=0.001)
# No schedule needs as much; a world that goes on for longer will never end.
MOST_SECONDS = 20_000.0


class World:
    """What a schedule is played in."""

    def __init__(self, schedule: Schedule, trace: Trace, nursery: trio.Nursery) -> None:
        self.schedule = schedule
        self.trace = trace
        self.nursery = nursery
        self.rng = random.Random(f"{schedule.seed} of the world")
        self.agenda = Agenda()
        self.registries = Registries(trace, schedule.network, self.rng)
        self.is_healed = False
        self.lives = [Life(self, n, plan) for n, plan in enumerate(schedule.workers)]

    def forecast(self) -> Weather:
        """The weather of the next connection."""
        network = self.schedule.network
        if self.is_healed:
            return CALM
        return Weather(
            delay_seconds=network.delay * self.rng.random(),
            jitter_seconds=network.jitter,
            split_share=network.split_share,
            bytes_per_second=network.bytes_per_second,
        )

    def job_plan(self, number: int) -> JobPlan:
        """The plan of a job, as its metadata names it; any other job is short and simple."""
        jobs = self.schedule.jobs
        return jobs[number] if 0 <= number < len(jobs) else JobPlan(at=0)

    async def run(self) -> None:
        """Play the schedule to the end of the last worker."""
        self.nursery.start_soon(self.agenda.run)
        await self.nursery.start(self.registries.run)
        faults = Faults(self)
        for fault in self.schedule.faults:
            self.agenda.at(fault.at, partial(faults.strike, fault))
        self.agenda.at(self.schedule.heals_at, self._heal)
        for number, plan in enumerate(self.schedule.jobs):
            self.nursery.start_soon(self._dispatch, number, plan)
        async with trio.open_nursery() as workers:
            for life in self.lives:
                workers.start_soon(life.run)

    def _heal(self) -> None:
        self.is_healed = True
        self.registries.heal()
        for life in self.lives:
            life.dialer.is_up, life.dialer.is_silent = True, False
        self.trace.note("world", "healed")

    async def _dispatch(self, number: int, plan: JobPlan) -> None:
        await trio.sleep_until(plan.at)
        request = DispatchRequest(
            agent_id=AGENT,
            room_id=f"room-{number}",
            metadata={"plan": number},
            wait=plan.wait,
            timeout=plan.timeout,
        )
        if plan.unasked:
            self._assign_unasked(number)
            return
        self.trace.note("caller", f"dispatches job {number}")
        self.trace.jobs_dispatched += 1
        registry = self.registries.registry
        with trio.move_on_after(float("inf")) as patience:
            if plan.withdraw_after is not None:
                patience.deadline = trio.current_time() + plan.withdraw_after
            try:
                job = await registry.dispatch(request)
            except DispatchError as error:
                self.trace.note("caller", f"job {number} was not dispatched: {error}")
                return
        if patience.cancelled_caught:
            self.trace.note("caller", f"withdraws job {number}")
            return
        self.trace.note("caller", f"job {number} is {job.job_id[:8]}")
        if plan.terminate_after is not None:
            await trio.sleep(plan.terminate_after)
            self.trace.note("caller", f"terminates job {number}")
            registry.terminate(job.job_id, "no longer needed")

    def _assign_unasked(self, number: int) -> None:
        for life in self.lives[:1]:
            for link in self.registries.links_of(life.number)[-1:]:
                self.trace.fault("unasked assignment")
                link.post(stray("job_assignment", f"unasked-{number}", number))


def run_world(schedule: Schedule) -> Trace:
    """Run a schedule; the same one always comes to the same trace."""
    trace = Trace()

    async def main() -> None:
        with trio.move_on_after(MOST_SECONDS) as limit:
            async with trio.open_nursery() as nursery:
                await World(schedule, trace, nursery).run()
                nursery.cancel_scope.cancel()
        if limit.cancelled_caught:
            trace.violation(f"a worker did not end in {MOST_SECONDS:g} s")
        trace.seconds = trio.current_time()

    with watched_logs(trace):
        run_determined(schedule.seed, main)
        hold_to_promises(schedule, trace)
    return trace
