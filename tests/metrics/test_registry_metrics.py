"""A registry's metrics: conventions, what it has counted, and its own `/metrics`."""

from __future__ import annotations

from typing import get_args

import pytest
import trio
from trio.testing import MockClock

from tests.metrics.promtool import complaints, parsed
from tests.status.asking import ask
from vsdk_trio.registry.actions import DispatchError
from vsdk_trio.registry.core import Registry, open_registry_core
from vsdk_trio.registry.http_api import make_app
from vsdk_trio.registry.ledger import DispatchRequest
from vsdk_trio.registry.metrics import RegistryTallies
from vsdk_trio.registry.switchboard import LinkClosed
from vsdk_trio.telemetry.events import registry as seen
from vsdk_trio.telemetry.metrics.exposition import render


class Link:
    """A worker's end of a link: `send` what it says, read what it is told from `told`."""

    def __init__(self) -> None:
        self._to_registry, self._from_worker = trio.open_memory_channel[str](100)
        self.told: list[str] = []

    def say(self, frame: str) -> None:
        self._to_registry.send_nowait(frame)

    def hang_up(self) -> None:
        self._to_registry.close()

    async def receive(self) -> str | bytes:
        try:
            return await self._from_worker.receive()
        except trio.EndOfChannel:
            raise LinkClosed from None

    async def send(self, text: str) -> None:
        await trio.lowlevel.checkpoint()
        self.told.append(text)

    async def close(self, code: int, reason: str) -> None:
        await trio.lowlevel.checkpoint()


def lines(registry: Registry) -> set[str]:
    content_type, body = render(registry.measure())
    assert complaints(parsed(body.decode(), content_type)) == []
    return set(body.decode().splitlines())


def test_every_observation_is_counted() -> None:
    assert {*get_args(seen.RegistryObservation)} == {*RegistryTallies()._count}


async def test_a_job_from_its_dispatch_to_its_end(autojump_clock: MockClock) -> None:
    registry = Registry()
    link = Link()
    with pytest.raises(DispatchError):
        await registry.dispatch(DispatchRequest(agent_id="nobody", room_id="r"))
    async with trio.open_nursery() as nursery, open_registry_core(registry):
        nursery.start_soon(registry.serve_worker, link)
        link.say('{"type": "register", "agent_name": "a", "version": "1", "max_processes": 3}')
        link.say("junk")
        await trio.sleep(1)
        jobs = []

        async def dispatch() -> None:
            jobs.append(await registry.dispatch(DispatchRequest(agent_id="a", room_id="r")))

        nursery.start_soon(dispatch)
        await trio.sleep(2)
        [job] = registry.jobs()
        assert 'vsdk_trio_registry_jobs{state="offered"} 1.0' in lines(registry)
        link.say(
            f'{{"type": "availability_response", "job_id": "{job.job_id}", "available": true}}'
        )
        await trio.sleep(1)
        link.say(f'{{"type": "job_update", "job_id": "{job.job_id}", "status": "running"}}')
        await trio.sleep(100)
        registry.terminate(job.job_id)
        link.say(f'{{"type": "job_update", "job_id": "{job.job_id}", "status": "completed"}}')
        await trio.sleep(1)
        present = lines(registry)
        link.hang_up()
        await trio.sleep(1)
    expected = {
        'vsdk_trio_registry_dispatches_total{outcome="assigned"} 1.0',
        'vsdk_trio_registry_dispatches_total{outcome="agent_not_deployed"} 1.0',
        'vsdk_trio_registry_dispatch_seconds_bucket{le="1.0"} 0.0',
        'vsdk_trio_registry_dispatch_seconds_bucket{le="2.5"} 1.0',
        "vsdk_trio_registry_assigned_to_running_seconds_count 1.0",
        'vsdk_trio_registry_job_duration_seconds_bucket{le="300.0",state="completed"} 1.0',
        'vsdk_trio_registry_jobs_ended_total{presumed="false",state="completed"} 1.0',
        "vsdk_trio_registry_offers_made_total 1.0",
        'vsdk_trio_registry_offers_decided_total{answer="yes"} 1.0',
        "vsdk_trio_registry_terminations_sent_total 1.0",
        'vsdk_trio_registry_workers_joined_total{worker="new"} 1.0',
        'vsdk_trio_registry_frames_ignored_total{kind="malformed"} 1.0',
        'vsdk_trio_registry_workers{link="present"} 1.0',
        "vsdk_trio_registry_capacity 3.0",
        'vsdk_trio_registry_jobs{state="running"} 0.0',
    }
    assert expected - present == set()
    gone = lines(registry)
    assert "vsdk_trio_registry_workers_left_total 1.0" in gone
    assert 'vsdk_trio_registry_workers{link="present"} 0.0' in gone
    assert not registry.observers.dropped


async def test_it_is_scraped_at_its_own_route_without_a_token() -> None:
    app = make_app(Registry(auth_token="the-token"), trio.Event())
    answer = await ask(app, "/metrics", peer="203.0.113.9")
    assert answer.status == 200
    metrics = parsed(answer.text, answer.headers["content-type"])
    assert complaints(metrics) == []
    names = {metric.name for metric in metrics}
    assert {"vsdk_trio_registry_dispatches", "process_resident_memory_bytes"} <= names
