"""`/metrics` over HTTP: of an application without a socket, and of a real worker."""

from __future__ import annotations

from functools import partial

import pytest
import trio
from trio.testing import MockClock

from tests.metrics.promtool import complaints, parsed
from tests.status.asking import a_view, app_of, ask, get, sources
from tests.worker.conftest import open_world
from vsdk_trio._service import open_service
from vsdk_trio.http_server.server import bind_listeners, url_of
from vsdk_trio.status.gauges import read_worker
from vsdk_trio.status.server import serve_status
from vsdk_trio.telemetry.metrics.worker_tallies import WorkerTallies

OPENMETRICS = {"accept": "application/openmetrics-text; version=1.0.0; q=0.5, */*;q=0.1"}


async def test_it_is_open_and_speaks_both_forms() -> None:
    tallies = WorkerTallies()
    app = app_of(measure=lambda: (*read_worker(a_view()), *tallies.read()))
    plain = await ask(app, "/metrics", peer="203.0.113.9")
    modern = await ask(app, "/metrics", headers=OPENMETRICS)
    for answer in (plain, modern):
        assert answer.status == 200
        assert answer.headers["cache-control"] == "no-store"
        metrics = parsed(answer.text, answer.headers["content-type"])
        assert complaints(metrics) == []
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert modern.headers["content-type"].startswith("application/openmetrics-text")


async def test_no_job_no_token_and_no_error_is_in_it(autojump_clock: MockClock) -> None:
    tallies = WorkerTallies()
    async with open_world() as world:
        world.worker.observers.add(tallies)
        job_id = await world.run_job(seconds=1, end="failed", error="secret words")
        await world.end_of(job_id)
    app = app_of(measure=tallies.read)
    text = (await ask(app, "/metrics")).text
    assert 'vsdk_trio_jobs_ended_total{cause="raised",state="failed"} 1.0' in text
    for secret in (job_id, "worker-token", "job-token", "secret words"):
        assert secret not in text


@pytest.mark.real
async def test_it_answers_on_a_socket_while_the_worker_goes_on() -> None:
    listeners = await bind_listeners("127.0.0.1", 0)
    tallies = WorkerTallies()
    asked = sources(measure=tallies.read)
    async with open_service(partial(serve_status, listeners, asked), grace=5):
        statuses: list[int] = []

        async def scrape() -> None:
            status, text = await get(url_of(listeners) + "/metrics")
            statuses.append(status)
            assert "vsdk_trio_offers_accepted_total 0.0" in text

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(scrape)
        assert statuses == [200] * 5
