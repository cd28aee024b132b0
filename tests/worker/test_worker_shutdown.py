"""How a worker ends: in which order, how fast, and what the registry is told; simulated world."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock

from vsdk_trio.errors import RegistrationRefusedError, RegistryUnreachableError
from vsdk_trio.options.worker import JobRequest
from vsdk_trio.processes.job_process import JobProcess
from vsdk_trio.telemetry.events import Observe
from vsdk_trio.testing.fake_registry import FakeRegistry
from vsdk_trio.worker import supervision
from vsdk_trio.worker.health_watch import HealthRules, WatchedJob
from vsdk_trio.worker.worker import WorkerHandle, WorkerReport

from .conftest import World, open_world

Ending = Callable[[WorkerHandle], None]


def types_since(world: World, start: int) -> list[str]:
    """What the registry received from the `start`-th frame on: types, with statuses."""
    return [
        f"{frame['type']} {frame.get('status', '')}".strip()
        for _, frame in world.session.received[start:]
        if frame["type"] != "ping"
    ]


async def ended(world: World) -> WorkerReport:
    await world.ended.wait()
    return world.reports[0]


async def test_draining_lets_jobs_finish_and_refuses_new_ones(
    world: World, autojump_clock: MockClock
) -> None:
    job_id = await world.run_job(seconds=100)
    world.worker.drain("deploy")
    await world.session.expect("status_update", status="draining")
    assert (await world.offer("late"))["error"] == "worker is shutting down: deploy"
    await world.assign("unasked")
    assert (await world.end_of("unasked"))["error"] == "worker is shutting down: deploy"
    assert (await world.end_of(job_id))["status"] == "completed"
    assert (await ended(world)).killed == ()
    assert trio.current_time() == pytest.approx(100, abs=3)


async def test_draining_keeps_a_promise(world: World, autojump_clock: MockClock) -> None:
    await world.offer("promised")
    world.worker.drain()
    await trio.sleep(1)
    await world.assign("promised", seconds=3)
    assert (await world.end_of("promised"))["status"] == "completed"
    await ended(world)


async def test_draining_ends_with_the_drain_timeout(autojump_clock: MockClock) -> None:
    async with open_world(drain_timeout=20) as world:
        job_id = await world.run_job(seconds=1000)
        world.worker.drain("deploy")
        end = await world.end_of(job_id)
        assert trio.current_time() == pytest.approx(20, abs=1)
        assert (end["status"], end["error"]) == ("completed", "worker is shutting down")


async def test_an_idle_worker_drains_at_once(world: World, autojump_clock: MockClock) -> None:
    await trio.sleep(1)
    world.worker.drain()
    await ended(world)
    assert trio.current_time() < 2
    assert await world.session.wait_closed() == 1000


async def test_the_order_of_an_end(autojump_clock: MockClock) -> None:
    """Trio shuffles its scheduler, so many runs must agree."""
    runs = []
    for _ in range(20):
        async with open_world() as world:
            await world.run_job(seconds=500)
            await world.run_job(seconds=500)
            await trio.sleep(1)
            before = len(world.session.received)
            world.worker.stop("SIGINT")
            await ended(world)
            runs.append(types_since(world, before))
            assert await world.session.wait_closed() == 1000
    for run in runs:
        assert [entry for entry in run if entry.startswith("job_update")] == [
            "job_update completed",
            "job_update completed",
        ]
        assert run[-1] == "status_update offline"


@pytest.mark.parametrize(
    ("ending", "seconds"),
    [
        (lambda worker: worker.stop(), 60 + 3 + 3),
        (lambda worker: worker.hurry(), 3 + 3 + 3),
    ],
    ids=["stop", "hurry"],
)
async def test_a_job_that_will_not_stop_is_killed_in_time(
    ending: Ending, seconds: float, world: World, autojump_clock: MockClock
) -> None:
    job_id = await world.run_job(seconds=5000, on_stop="stuck")
    began = trio.current_time()
    ending(world.worker)
    report = await ended(world)
    assert trio.current_time() - began == pytest.approx(seconds, abs=2)
    assert report.killed == (job_id,)
    (_, (status, error)) = world.updates(job_id)
    assert status == "failed"
    assert error is not None
    assert error.startswith("worker is shutting down; the job process did not stop")


async def test_a_second_signal_cuts_the_graces_that_run(
    world: World, autojump_clock: MockClock
) -> None:
    await world.run_job(seconds=5000, on_stop="stuck")
    began = trio.current_time()
    world.worker.stop()
    await trio.sleep(10)
    world.worker.hurry()
    await ended(world)
    assert trio.current_time() - began == pytest.approx(10 + 3 + 3 + 3, abs=2)


async def test_a_cancellation_ends_in_the_same_order(autojump_clock: MockClock) -> None:
    for _ in range(20):
        async with open_world() as world:
            job_id = await world.run_job(seconds=500)
        assert world.updates(job_id) == [
            ("running", None),
            ("completed", "worker is shutting down"),
        ]
        assert world.session.received[-1][1]["status"] == "offline"
        assert world.runner.callbacks_run == [job_id]
        assert await world.session.wait_closed() == 1000


async def test_what_is_assigned_while_jobs_stop_is_answered(
    world: World, autojump_clock: MockClock
) -> None:
    await world.offer("promised")
    await world.run_job(seconds=5000, on_stop="ignore")
    world.worker.stop()
    await trio.sleep(1)
    await world.assign("promised")
    assert (await world.end_of("promised"))["status"] == "failed"
    assert not (await world.offer("new"))["available"]
    await ended(world)


# The registry goes away


async def reconnected(world: World) -> None:
    world.session = await world.registry.next_session()


async def test_what_ends_while_the_registry_is_away_is_told_later(
    world: World, autojump_clock: MockClock
) -> None:
    short = await world.run_job(seconds=5)
    long = await world.run_job(seconds=500)
    await trio.sleep(1)
    world.registry.dialer.is_up = False
    await world.session.drop()
    await trio.sleep(20)
    world.registry.dialer.is_up = True
    await reconnected(world)
    register = await world.session.expect("register")
    assert register["worker_id"] == "worker-1"
    assert (await world.end_of(short))["status"] == "completed"
    job_updates = world.session.of_type("job_update")
    assert [(u["job_id"], u["status"]) for u in job_updates] == [
        (long, "running"),
        (short, "completed"),
    ]
    # A slot is free although the registry was away when the job ended.
    assert (await world.offer("new"))["available"]


async def test_an_answer_dies_with_its_session(autojump_clock: MockClock) -> None:
    async def slow(request: object) -> bool:
        await trio.sleep(3)
        return True

    async with open_world(request_fnc=slow) as world:
        await world.session.send({"type": "availability_request", "job_id": "a"})
        await trio.sleep(1)
        await world.session.drop()
        await reconnected(world)
        await trio.sleep(10)
        assert world.session.of_type("availability_response") == []


async def test_a_worker_without_jobs_gives_up(autojump_clock: MockClock) -> None:
    with pytest.RaisesGroup(
        pytest.RaisesExc(RegistryUnreachableError, match="could not be reached"),
        flatten_subgroups=True,
        allow_unwrapped=True,
    ):
        async with open_world() as world:
            world.registry.dialer.is_up = False
            await world.session.drop()
            await trio.sleep(3600)


async def test_a_worker_with_jobs_drains_first_and_delivers(autojump_clock: MockClock) -> None:
    worlds: list[World] = []
    with pytest.RaisesGroup(RegistryUnreachableError, flatten_subgroups=True, allow_unwrapped=True):
        async with open_world() as world:
            worlds.append(world)
            job_id = await world.run_job(seconds=1000)
            world.registry.dialer.is_up = False
            await world.session.drop()
            await trio.sleep(1500)  # retries are used up long before the job ends
            assert not world.ended.is_set()
            world.registry.dialer.is_up = True
            await reconnected(world)
            assert (await world.end_of(job_id))["status"] == "completed"
            await world.ended.wait()
    assert worlds[0].session.received[-1][1]["status"] == "offline"


async def test_a_refusal_ends_the_worker(autojump_clock: MockClock) -> None:
    def refuse(registry: FakeRegistry) -> None:
        registry.auto_register = False

    with pytest.RaisesGroup(
        pytest.RaisesExc(RegistrationRefusedError, match="no such agent"),
        flatten_subgroups=True,
        allow_unwrapped=True,
    ):
        async with open_world() as world:
            refuse(world.registry)
            await world.session.drop()
            await reconnected(world)
            await world.session.register(success=False, message="no such agent")
            await trio.sleep(60)


async def test_health_is_honest(world: World, autojump_clock: MockClock) -> None:
    driver = world.worker._driver
    assert driver.health().problems == ()
    world.registry.dialer.is_up = False
    await world.session.drop()
    await trio.sleep(1)
    assert driver.health().problems == ("not registered with the registry",)


async def test_draining_finds_out_that_the_link_is_half_open(
    world: World, autojump_clock: MockClock
) -> None:
    job_id = await world.run_job(seconds=5)
    await trio.sleep(1)
    world.registry.is_deaf = True
    await trio.sleep(9)
    world.worker.drain()
    await trio.sleep(1)
    world.registry.is_deaf = False
    await reconnected(world)
    assert (await world.end_of(job_id))["status"] == "completed"
    await ended(world)
    assert world.session.received[-1][1]["status"] == "offline"


async def test_a_bug_around_one_job_lets_the_others_end_in_order(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = supervision.watch_health

    async def breaks(
        process: JobProcess, job: WatchedJob, rules: HealthRules, observe: Observe, begin_at: float
    ) -> None:
        if job.job_id == "job-1":
            await trio.sleep(10)
            raise ZeroDivisionError("injected")
        await real(process, job, rules, observe, begin_at)

    monkeypatch.setattr(supervision, "watch_health", breaks)
    worlds: list[World] = []
    says_so = pytest.RaisesExc(ZeroDivisionError, match="injected")
    with pytest.RaisesGroup(says_so, flatten_subgroups=True, allow_unwrapped=True):
        async with open_world() as world:
            worlds.append(world)
            await world.run_job(seconds=500)
            await world.run_job(seconds=500)
            await trio.sleep_forever()
    world = worlds[0]
    assert world.updates("job-1")[-1] == ("failed", "the worker failed")
    assert world.updates("job-2")[-1] == ("completed", "worker is shutting down")
    assert sorted(world.runner.callbacks_run) == ["job-1", "job-2"]
    assert world.session.received[-1][1]["status"] == "offline"


async def test_only_what_the_end_has_killed_counts(autojump_clock: MockClock) -> None:
    async with open_world(close_timeout=1, termination_timeout=1) as world:
        job_id = await world.run_job(seconds=500, on_stop="stuck")
        await world.session.send({"type": "job_termination", "job_id": job_id})
        assert (await world.end_of(job_id))["status"] == "failed"
        await trio.sleep(5)
        world.worker.stop()
        assert (await ended(world)).killed == ()


async def test_a_cancelled_worker_answers_while_its_jobs_stop(autojump_clock: MockClock) -> None:
    async def ask(world: World) -> None:
        await trio.sleep(5)
        assert (await world.offer("late"))["error"] == "worker is shutting down: cancelled"
        await world.assign("unasked")
        assert (await world.end_of("unasked"))["error"] == "worker is shutting down: cancelled"
        assert not world.ended.is_set()
        asked.append(world)

    asked: list[World] = []
    async with trio.open_nursery() as nursery, open_world() as world:
        await world.run_job(seconds=5000, on_stop="ignore")
        nursery.start_soon(ask, world)
    assert asked


async def test_draining_does_not_wait_long_for_a_registry_without_pongs(
    world: World, autojump_clock: MockClock
) -> None:
    world.registry.answer_pings = False
    job_id = await world.run_job(seconds=5)
    world.worker.drain()
    assert (await world.end_of(job_id))["status"] == "completed"
    told_at = trio.current_time()
    await ended(world)
    assert trio.current_time() - told_at < 3


async def test_a_long_drain_keeps_its_heartbeat(world: World, autojump_clock: MockClock) -> None:
    await world.run_job(seconds=600)
    await trio.sleep(1)
    world.worker.drain()
    await trio.sleep(100)
    world.registry.is_deaf = True
    await trio.sleep(40)
    world.registry.is_deaf = False
    await reconnected(world)
    await world.session.expect("job_update", status="running")


async def test_what_comes_in_the_last_flush_is_answered(
    world: World, autojump_clock: MockClock
) -> None:
    job_id = await world.run_job(seconds=100)
    world.registry.answer_pings = False  # so that the proof of the job's end takes its time
    world.worker.stop("deploy")
    await world.end_of(job_id)
    await trio.sleep(0.2)
    assert world.spawner.alive == 0
    no = "worker is shutting down: deploy"
    assert (await world.offer("late"))["error"] == no
    await world.assign("later")
    assert (await world.end_of("later"))["error"] == no
    assert not world.ended.is_set()
    await ended(world)
    assert world.session.of_type("status_update")[-1]["status"] == "offline"


async def test_what_is_undecided_at_the_end_is_answered(autojump_clock: MockClock) -> None:
    async def decide(request: JobRequest) -> bool:
        await trio.sleep(3)
        return True

    async with open_world(request_fnc=decide) as world:
        await world.session.send({"type": "availability_request", "job_id": "a", "room_id": "r"})
        await trio.sleep(1)
        world.worker.stop("deploy")
        answer = await world.session.expect("availability_response", job_id="a")
        assert answer["error"] == "worker is shutting down: deploy"
        assert not answer["available"]
        assert trio.current_time() == pytest.approx(1, abs=0.5)
        await ended(world)
        assert len(world.session.of_type("availability_response")) == 1
