"""A worker's metrics: conventions, one count for each thing that happens, gauges of what is."""

from __future__ import annotations

import itertools
import subprocess
import sys
from typing import get_args

import pytest
import trio
from prometheus_client import Metric
from trio.testing import MockClock

from tests.metrics.promtool import complaints, parsed
from tests.status.asking import a_view
from tests.worker.conftest import open_world
from vsdk_trio.jobs.lifecycle import AgentParticipant, JobFact, JobLifecycle, StopCause
from vsdk_trio.processes.exit import ExitKind
from vsdk_trio.processes.pool import ProcessState
from vsdk_trio.status import gauges
from vsdk_trio.status.gauges import read_worker
from vsdk_trio.status.view import DrainView, JobView, ProcessView, WorkerView
from vsdk_trio.telemetry import events as seen
from vsdk_trio.telemetry.metrics import families
from vsdk_trio.telemetry.metrics.exposition import render
from vsdk_trio.telemetry.metrics.own_process import read_own_process
from vsdk_trio.telemetry.metrics.worker_tallies import WorkerTallies

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
# What a dashboard needs, and no counter: nothing of it is a metric.
NOT_COUNTED = {seen.JobTold, seen.LoopFreed, seen.ShutdownAdvanced, seen.StatusReported}


def scraped(
    tallies: WorkerTallies | None = None, view: WorkerView | None = None, accept: str = ""
) -> list[Metric]:
    readings = [*read_worker(view or a_view()), *(tallies or WorkerTallies()).read()]
    content_type, body = render([*readings, *read_own_process()], accept)
    return parsed(body.decode(), content_type)


def value(metrics: list[Metric], name: str, **labels: str) -> float:
    [found] = [
        sample.value
        for metric in metrics
        for sample in metric.samples
        if sample.name == name and sample.labels == labels
    ]
    return float(found)


@pytest.mark.parametrize("accept", ["", "text/plain", OPENMETRICS])
def test_the_conventions_are_kept(accept: str) -> None:
    metrics = scraped(accept=accept)
    assert len(metrics) > 40
    assert complaints(metrics) == []


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/html, */*;q=0.1", "text/plain; version=0.0.4; charset=utf-8"),
        (
            "application/openmetrics-text;version=junk",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
        (OPENMETRICS, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
    ],
)
def test_who_asks_gets_the_form_that_it_reads(accept: str, content_type: str) -> None:
    got, body = render(read_worker(a_view()), accept)
    assert got.startswith(content_type)
    assert body.endswith(b"# EOF\n") == ("openmetrics" in content_type)


def test_every_observation_is_counted_or_left_out_on_purpose() -> None:
    tallies = WorkerTallies()
    assert {*get_args(seen.Observation)} == {*tallies.handlers} | NOT_COUNTED
    assert not {*tallies.handlers} & NOT_COUNTED


def test_words_are_those_of_the_code() -> None:
    assert {*families.PROCESSES_ENDED.labels[0].values} == {*ExitKind}
    assert {*gauges.PROCESS_STATES} == {*ProcessState}


def test_the_transitions_are_those_of_a_lifecycle() -> None:
    """Walk every way through the machine, and compare with the series."""
    found = {("none", "assigned")}
    steps = {
        "start": JobLifecycle.start,
        "enter": JobLifecycle.enter,
        "join": lambda job: job.join(AgentParticipant("", "")),
        "stop": lambda job: job.stop(StopCause("x")),
        "abandon": JobLifecycle.abandon,
        "lose": JobLifecycle.lose,
        "exit": lambda job: job.exit("x"),
        **{
            fact.name: lambda job, fact=fact: job.finish(fact)
            for fact in (JobFact.COMPLETED, JobFact.FAILED, JobFact.CANCELLED)
        },
    }

    def walk(path: tuple[str, ...], wait: bool) -> None:
        job = JobLifecycle(wait=wait)
        for name in path:
            before = job.state
            try:
                steps[name](job)
            except RuntimeError:
                return
            if job.state is not before:
                found.add((str(before), str(job.state)))
        if not job.state.is_end and len(path) < 5:
            for name in steps:
                walk((*path, name), wait)

    walk((), wait=False)
    walk((), wait=True)
    assert found == {*families.TRANSITIONS}


async def test_a_job_is_counted_from_offer_to_proof(autojump_clock: MockClock) -> None:
    tallies = WorkerTallies()
    async with open_world(max_processes=1) as world:
        world.worker.observers.add(tallies)
        await trio.sleep(1)
        job_id = await world.run_job(seconds=40)
        await world.offer("another")
        await world.end_of(job_id)
        await trio.sleep(20)
    metrics = scraped(tallies)
    expected = {
        ("vsdk_trio_offers_accepted_total", ()): 1,
        ("vsdk_trio_offers_refused_total", (("reason", "at_capacity"),)): 1,
        ("vsdk_trio_jobs_ended_total", (("cause", "returned"), ("state", "completed"))): 1,
        ("vsdk_trio_processes_given_total", (("start", "warm"),)): 1,
        ("vsdk_trio_messages_proven_total", (("type", "job_update"),)): 2,
        ("vsdk_trio_frames_received_total", (("type", "availability_request"),)): 2,
        ("vsdk_trio_job_duration_seconds_count", (("state", "completed"),)): 1,
        ("vsdk_trio_sessions_ended_total", (("how", "closed"),)): 1,
    }
    got = {key: value(metrics, key[0], **dict(key[1])) for key in expected}
    assert got == expected
    for stage in seen.DispatchStage:
        count = value(metrics, "vsdk_trio_dispatch_stage_seconds_count", stage=stage)
        assert count == (2 if stage is seen.DispatchStage.OFFER_TO_ANSWER else 1)
    moves = ["none", "assigned", "starting", "running", "completed"]
    for before, after in itertools.pairwise(moves):
        labels = {"from_state": before, "to_state": after}
        assert value(metrics, "vsdk_trio_job_transitions_total", **labels) == 1


def test_gauges_say_what_is() -> None:
    view = a_view(
        max_processes=5,
        promised=1,
        load=0.4,
        owed=3,
        unsent=2,
        jobs=(
            JobView(job_id="a", room_id="", state="running", accepted_at=1.0),
            JobView(job_id="b", room_id="", state="stopping", accepted_at=1.0),
        ),
        processes=(
            ProcessView(pid=1, state="busy", started_at=1.0, heard_at=1.0, memory_mb=10.0),
            ProcessView(
                pid=2,
                state="busy",
                started_at=1.0,
                heard_at=1.0,
                memory_mb=30.0,
                lag_seconds=0.5,
            ),
            ProcessView(pid=3, state="idle", started_at=1.0, heard_at=1.0),
        ),
        drain=DrainView(
            stage="draining",
            reason="SIGTERM",
            since=1.0,
            jobs_may_run_seconds=3.0,
            at_most_seconds=60.0,
            waiting_for=(),
        ),
    )
    metrics = scraped(view=view)
    assert value(metrics, "vsdk_trio_slots", use="free") == 2
    assert value(metrics, "vsdk_trio_slots", use="promised") == 1
    assert value(metrics, "vsdk_trio_slots", use="running") == 2
    assert value(metrics, "vsdk_trio_jobs", state="stopping") == 1
    assert value(metrics, "vsdk_trio_jobs", state="starting") == 0
    assert value(metrics, "vsdk_trio_processes", state="busy") == 2
    assert value(metrics, "vsdk_trio_job_processes_memory_bytes") == 40 << 20
    assert value(metrics, "vsdk_trio_job_process_memory_max_bytes") == 30 << 20
    assert value(metrics, "vsdk_trio_job_loop_lag_max_seconds") == 0.5
    assert value(metrics, "vsdk_trio_load_ratio") == 0.4
    assert value(metrics, "vsdk_trio_updates_owed") == 3
    assert value(metrics, "vsdk_trio_outbox_messages") == 2
    assert value(metrics, "vsdk_trio_registered") == 1
    assert value(metrics, "vsdk_trio_ready") == 0
    assert value(metrics, "vsdk_trio_draining") == 1
    assert value(metrics, "vsdk_trio_drain_remaining_seconds") == 60
    info = {"agent_id": "agent", "worker_id": "worker-1"}
    assert value(metrics, "vsdk_trio_worker_info", **info) == 1


def test_an_agent_may_be_called_anything() -> None:
    name = 'a "quoted"\n\\agent'
    metrics = scraped(view=a_view(agent_id=name))
    labels = {"agent_id": name, "worker_id": "worker-1"}
    assert value(metrics, "vsdk_trio_worker_info", **labels) == 1


def test_the_figures_of_the_process_are_true() -> None:
    metrics = scraped()
    assert value(metrics, "process_resident_memory_bytes") > 10e6
    assert value(metrics, "process_cpu_seconds_total") > 0
    assert 3 <= value(metrics, "process_open_fds") <= value(metrics, "process_max_fds")
    assert value(metrics, "process_start_time_seconds") > 1.5e9


@pytest.mark.real
def test_a_worker_that_nobody_scrapes_loads_no_library() -> None:
    program = (
        "import sys, vsdk_trio.worker.worker;"
        "heavy = {'prometheus_client', 'starlette', 'opentelemetry'};"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=50
    )
    assert run.stdout.strip() == "[]", run.stderr
