"""What `jobs`, `workers` and `top` look at, and the pictures that they make of it."""

from __future__ import annotations

import os
import time
from typing import Any
from urllib.parse import quote

import attrs

from ._client import CallError, Peer, worker_at
from ._output import console, print_json
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
from ._watch import Picture, watch


async def watch_jobs(registry: Peer, every: float, as_json: bool, once: bool) -> None:
    """Show the jobs of a registry, all of them."""

    async def look() -> Picture:
        jobs = await _listed(registry, "jobs")
        return Picture(rendered(table_of_jobs(jobs)), {"jobs": jobs})

    await watch(look, every=every, as_json=as_json, once=once)


async def watch_job(registry: Peer, job_id: str, every: float, as_json: bool, once: bool) -> None:
    """Show one job, with its whole error and what its worker said of it."""
    path = f"/v2/agent/jobs/{quote(os.fsencode(job_id), safe='')}"

    async def look() -> Picture:
        answer = await registry.ask("GET", path)
        if not isinstance(answer.get("job"), dict):
            raise CallError(f"{registry.url} is not a registry: it knows no job {job_id}")
        return Picture(rendered_job(answer), answer)

    await watch(look, every=every, as_json=as_json, once=once)


async def show_workers(registry: Peer, as_json: bool) -> None:
    """Show the workers of a registry."""
    workers = await _listed(registry, "workers")
    if as_json:
        print_json({"workers": workers})
    else:
        console().print(rendered(table_of_workers(workers)))


async def watch_any(peer: Peer, every: float, as_json: bool, once: bool) -> None:
    """Show a registry or a worker, whichever is there."""
    worker = worker_at(peer.url, peer.ca_file)
    registry = attrs.evolve(peer, what="registry or worker")
    status, _ = await registry.exchange("GET", "/livez")

    async def look_at_worker() -> Picture:
        return _of_worker(worker, await worker.ask("GET", "/stats"))

    async def look_at_registry() -> Picture:
        return _of_registry(
            registry, await _listed(registry, "workers"), await _listed(registry, "jobs")
        )

    # A registry has no such route.
    look = look_at_worker if status == 200 else look_at_registry
    await watch(look, every=every, as_json=as_json, once=once)


async def _listed(registry: Peer, what: str) -> list[dict[str, Any]]:
    answer = await registry.ask("GET", f"/v2/agent/{what}")
    known = answer.get(what)
    if not isinstance(known, list) or not all(isinstance(item, dict) for item in known):
        raise CallError(f"{registry.url} is not a registry: it knows no {what}")
    return known


def _of_registry(
    registry: Peer, workers: list[dict[str, Any]], jobs: list[dict[str, Any]]
) -> Picture:
    open_jobs = [job for job in jobs if not has_ended(job)]
    head = (
        f"registry {registry.url}  workers {len(workers)}  "
        f"jobs open {len(open_jobs)}, ended {len(jobs) - len(open_jobs)}"
    )
    shown = rendered(head, "", table_of_workers(workers), "", table_of_open_jobs(open_jobs))
    return Picture(shown, {"workers": workers, "jobs": open_jobs})


def _is_taken(stats: dict[str, Any]) -> bool:
    """Has the worker no slot left?"""
    slots = {"job_count": stats.get("current_jobs"), "max_processes": stats.get("max_processes")}
    return is_full(slots)


def _of_worker(worker: Peer, stats: dict[str, Any]) -> Picture:
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
    return Picture(rendered(head, "", table_of_processes(resources, time.time())), stats)
