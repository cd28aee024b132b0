"""From a registry's frame to what the worker makes of it, one job at a time."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import attrs
import trio

from ..echoes import PipeTrip, WebSocketEcho, open_pipe_echo, open_websocket_echo
from ..figures import Figure, Samples, milliseconds
from ..interpreters import KnownImports, time_start
from ..plan import Plan
from ..registry import Registry, assignment
from ..worker_program import WorkerProgram, open_worker

WARM_AIM_MS = 1.5
# Between a job process' last step of coming up and the next job: the status update that follows
# a job is sent after 50 ms, and must not be what is measured.
SETTLE_SECONDS = 0.15
JOB_LIMIT_SECONDS = 30.0


@attrs.define
class Times:
    """Nanoseconds, gathered job by job."""

    answers: list[int] = attrs.field(factory=list)
    entries: list[int] = attrs.field(factory=list)
    pipes: list[int] = attrs.field(factory=list)
    websockets: list[int] = attrs.field(factory=list)
    interpreters: list[int] = attrs.field(factory=list)
    libraries: list[int] = attrs.field(factory=list)


async def measure_warm(plan: Plan, registry: Registry) -> AsyncIterator[Figure | Samples]:
    """With an idle process ready. The floor is one way of each: a WebSocket, then a pipe."""
    times = Times()
    message = json.dumps(assignment("job-0"))
    async with open_websocket_echo(message) as websocket:
        with open_pipe_echo(message) as pipe:
            async with open_worker(registry, plan.directory, idle=1, max_processes=2) as worker:
                for number in range(plan.jobs):
                    await worker.reports.processes_up(number + 1)
                    await trio.sleep(SETTLE_SECONDS)
                    await _time_echoes(websocket, pipe, times)
                    await _run_job(worker, f"job-{number}", times)
    websockets = milliseconds("WebSocket echo", times.websockets)
    pipes = milliseconds("pipe round trip", times.pipes)
    one_way = [(a + b) / 2 for a, b in zip(times.websockets, times.pipes, strict=True)]
    yield Figure(measured=milliseconds("offer to answer", times.answers), floor=websockets)
    yield Figure(
        measured=milliseconds("assignment to entrypoint, idle process", times.entries),
        floor=milliseconds("one way: WebSocket, then pipe", one_way),
        aim=WARM_AIM_MS,
    )
    yield pipes


async def measure_cold(
    plan: Plan, registry: Registry, known: KnownImports
) -> AsyncIterator[Figure | Samples]:
    """With no idle process: one is started for each job."""
    times = Times()
    async with open_worker(registry, plan.directory, idle=0, max_processes=2) as worker:
        for number in range(plan.jobs):
            times.interpreters.append(time_start(known.runner))
            times.libraries.append(time_start(known.runner_libraries))
            await trio.sleep(SETTLE_SECONDS)
            await _run_job(worker, f"job-{number}", times)
    yield Figure(
        measured=milliseconds("assignment to entrypoint, none idle", times.entries),
        floor=milliseconds(known.runner.name, times.interpreters),
    )
    yield milliseconds(known.runner_libraries.name, times.libraries)


async def _time_echoes(websocket: WebSocketEcho, pipe: PipeTrip, times: Times) -> None:
    times.websockets.append(await websocket.round_trip())
    times.pipes.append(pipe())


async def _run_job(worker: WorkerProgram, job_id: str, times: Times) -> None:
    session = worker.session
    with trio.fail_after(JOB_LIMIT_SECONDS):
        answered_ns, taken = await session.offer(job_id)
        if not taken:
            raise RuntimeError(f"the worker refused {job_id} with nothing else to do")
        sent_ns = await session.assign(job_id)
        entry = await worker.reports.entered(job_id)
        await session.ended(job_id)
    times.answers.append(answered_ns)
    times.entries.append(entry.at_ns - sent_ns)
