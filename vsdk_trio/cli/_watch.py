"""What `jobs`, `workers` and `top` show, once or again and again.

On a terminal a new view replaces the last one. Elsewhere each view follows the one before.
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import quote

import attrs
import trio
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from ._client import AwayError, CallError, HttpPeer, worker_at
from ._output import console, json_of, print_json
from ._tables import (
    has_ended,
    is_full,
    number,
    rendered,
    rendered_job,
    table_of_jobs,
    table_of_open_jobs,
    table_of_processes,
    table_of_workers,
)

LEAST_SECONDS: Final = 0.5
"""Twice a second is as often as anybody can read."""


@attrs.frozen
class ScreenView:
    """What is shown at one moment: for a person, and for a program."""

    shown: RenderableType
    data: dict[str, Any]


TakeSnapshot = Callable[[], Awaitable[ScreenView]]


async def watch(look: TakeSnapshot, *, every: float, as_json: bool, once: bool = False) -> None:
    """Show what `look` sees until cancelled, or `once`; at most every `LEAST_SECONDS`.

    As JSON it is one line for each look. Somebody who is away at first is an error
    (`AwayError`); one who goes away later is waited for.
    """
    first = await look()
    if as_json:
        print(json_of(first.data, indent=2 if once else None), flush=True)
    elif once:
        console().print(first.shown)
    if once:
        return
    every = max(every, LEAST_SECONDS)
    screen = console()
    if as_json:
        await _repeat(look, every, lambda picture: print(json_of(picture.data), flush=True))
    elif screen.is_terminal:
        await _in_place(screen, look, first, every)
    else:
        screen.print(first.shown)

        def append(picture: ScreenView) -> None:
            screen.print()
            screen.print(picture.shown)

        await _repeat(look, every, append)


async def _in_place(screen: Console, look: TakeSnapshot, first: ScreenView, every: float) -> None:
    # Drawn from here and not from a thread of rich's, which would draw while we write.
    with Live(first.shown, console=screen, auto_refresh=False, screen=True) as live:
        live.refresh()
        await _repeat(look, every, lambda picture: live.update(picture.shown, refresh=True))


async def _repeat(look: TakeSnapshot, every: float, show: Callable[[ScreenView], None]) -> None:
    last: ScreenView | None = None
    while True:
        await trio.sleep(every)
        try:
            last = await look()
            show(last)
        except AwayError as error:
            gone = Text(f"{error}; trying again", style="red")
            before = () if last is None else (last.shown,)
            show(ScreenView(Group(gone, *before), {"error": str(error)}))


async def watch_jobs(registry: HttpPeer, every: float, as_json: bool, once: bool) -> None:
    """Show the jobs of a registry, all of them."""

    async def look() -> ScreenView:
        jobs = await _listed(registry, "jobs")
        return ScreenView(rendered(table_of_jobs(jobs)), {"jobs": jobs})

    await watch(look, every=every, as_json=as_json, once=once)


async def watch_job(
    registry: HttpPeer, job_id: str, every: float, as_json: bool, once: bool
) -> None:
    """Show one job, with its whole error and what its worker said of it."""
    path = f"/v2/agent/jobs/{quote(os.fsencode(job_id), safe='')}"

    async def look() -> ScreenView:
        answer = await registry.ask("GET", path)
        if not isinstance(answer.get("job"), dict):
            raise CallError(f"{registry.url} is not a registry: it knows no job {job_id}")
        return ScreenView(rendered_job(answer), answer)

    await watch(look, every=every, as_json=as_json, once=once)


async def show_workers(registry: HttpPeer, as_json: bool) -> None:
    """Show the workers of a registry."""
    workers = await _listed(registry, "workers")
    if as_json:
        print_json({"workers": workers})
    else:
        console().print(rendered(table_of_workers(workers)))


async def watch_any(peer: HttpPeer, every: float, as_json: bool, once: bool) -> None:
    """Show a registry or a worker, whichever is there."""
    worker = worker_at(peer.url, peer.ca_file)
    registry = attrs.evolve(peer, what="registry or worker")
    status, _ = await registry.exchange("GET", "/livez")

    async def look_at_worker() -> ScreenView:
        return _of_worker(worker, await worker.ask("GET", "/stats"))

    async def look_at_registry() -> ScreenView:
        return _of_registry(
            registry, await _listed(registry, "workers"), await _listed(registry, "jobs")
        )

    # A registry has no such route.
    look = look_at_worker if status == 200 else look_at_registry
    await watch(look, every=every, as_json=as_json, once=once)


async def _listed(registry: HttpPeer, what: str) -> list[dict[str, Any]]:
    answer = await registry.ask("GET", f"/v2/agent/{what}")
    known = answer.get(what)
    if not isinstance(known, list) or not all(isinstance(item, dict) for item in known):
        raise CallError(f"{registry.url} is not a registry: it knows no {what}")
    return known


def _of_registry(
    registry: HttpPeer, workers: list[dict[str, Any]], jobs: list[dict[str, Any]]
) -> ScreenView:
    open_jobs = [job for job in jobs if not has_ended(job)]
    head = (
        f"registry {registry.url}  workers {len(workers)}  "
        f"jobs open {len(open_jobs)}, ended {len(jobs) - len(open_jobs)}"
    )
    shown = rendered(head, "", table_of_workers(workers), "", table_of_open_jobs(open_jobs))
    return ScreenView(shown, {"workers": workers, "jobs": open_jobs})


def _is_taken(stats: dict[str, Any]) -> bool:
    """Has the worker no slot left?"""
    slots = {"job_count": stats.get("current_jobs"), "max_processes": stats.get("max_processes")}
    return is_full(slots)


def _of_worker(worker: HttpPeer, stats: dict[str, Any]) -> ScreenView:
    resources = stats.get("resource_info")
    if not isinstance(resources, list) or not all(isinstance(r, dict) for r in resources):
        raise CallError(f"{worker.url} is not a worker: it knows no processes")
    state = "registered" if stats.get("backend_connected") else "NOT REGISTERED"
    if stats.get("draining"):
        state += ", draining"
    elif _is_taken(stats):
        state += ", full"
    head = (
        f"worker {str(stats.get('worker_id'))[:8]} of {stats.get('agent_id')}  "
        f"jobs {stats.get('current_jobs')} of {stats.get('max_processes')}  {state}  "
        f"load {number(stats.get('worker_load'))}"
    )
    return ScreenView(rendered(head, "", table_of_processes(resources, time.time())), stats)
