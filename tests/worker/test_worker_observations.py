"""What a worker tells of itself while it works: every move of a job, process, session."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.lowlevel
from trio.testing import MockClock

from tests.worker.conftest import World, open_world
from vsdk_trio.telemetry import events as seen
from vsdk_trio.telemetry.events import DispatchStage


def moves(world: World, job_id: str) -> list[tuple[str, str | None]]:
    return [(m.state, m.cause) for m in world.seen(seen.JobMoved) if m.job_id == job_id]


def stages(world: World, job_id: str) -> dict[DispatchStage, float]:
    return {s.stage: s.seconds for s in world.seen(seen.StageTook) if s.job_id == job_id}


async def until_proven(world: World) -> None:
    proven = trio.Event()

    def listen(observation: seen.Observation) -> None:
        if (
            isinstance(observation, seen.StageTook)
            and observation.stage is DispatchStage.END_TO_PROVEN
        ):
            proven.set()

    if not any(s.stage is DispatchStage.END_TO_PROVEN for s in world.seen(seen.StageTook)):
        with world.worker.observers.listening(listen):
            await proven.wait()


async def test_a_job_from_its_offer_to_its_proof(world: World, autojump_clock: MockClock) -> None:
    job_id = await world.run_job(seconds=5)
    await world.end_of(job_id)
    await until_proven(world)
    assert moves(world, job_id) == [
        ("assigned", None),
        ("starting", None),
        ("running", None),
        ("completed", "returned"),
    ]
    end = world.seen(seen.JobMoved)[-1]
    assert (end.previous, end.room_id) == ("running", "room")
    assert end.seconds == pytest.approx(5)
    took = stages(world, job_id)
    assert list(took) == list(DispatchStage)  # each once, and in their order
    assert all(seconds >= 0 for seconds in took.values())
    assert [(t.status, t.error) for t in world.seen(seen.JobTold)] == [
        ("running", None),
        ("completed", None),
    ]
    assert [o.refusal for o in world.seen(seen.OfferAnswered)] == [None]


async def test_a_job_that_waits_for_its_room_is_running_only_then(
    world: World, autojump_clock: MockClock
) -> None:
    await world.offer("job")
    await world.assign("job", fields={"wait": True}, joins=3, seconds=10)
    await world.session.expect("job_update", job_id="job", status="running")
    assert stages(world, "job")[DispatchStage.ENTRYPOINT_TO_RUNNING] == pytest.approx(3)


@pytest.mark.parametrize(
    ("script", "cause"),
    [
        ({"end": "failed"}, "raised"),
        ({"end": "exit"}, "process died"),
        ({"end": "signal"}, "process died"),
    ],
)
async def test_a_failure_has_a_cause(
    world: World, autojump_clock: MockClock, script: dict[str, Any], cause: str
) -> None:
    job_id = await world.run_job(seconds=1, **script)
    await world.end_of(job_id)
    assert moves(world, job_id)[-1] == ("failed", cause)


async def test_a_terminated_job_stops_and_ends_for_that_cause(
    world: World, autojump_clock: MockClock
) -> None:
    job_id = await world.run_job(seconds=100)
    await world.session.send({"type": "job_termination", "job_id": job_id})
    await world.end_of(job_id)
    assert moves(world, job_id)[-2:] == [("stopping", "terminated"), ("cancelled", "terminated")]
    await world.session.send({"type": "job_termination", "job_id": "unknown"})
    await trio.sleep(1)
    found = [(t.job_id, t.is_here) for t in world.seen(seen.TerminationReceived)]
    assert found == [(job_id, True), ("unknown", False)]


async def test_a_job_that_takes_too_long_and_does_not_stop(autojump_clock: MockClock) -> None:
    async with open_world(job_timeout=3, close_timeout=1, termination_timeout=1) as world:
        job_id = await world.run_job(seconds=100, on_stop="stuck")
        await world.end_of(job_id)
        assert moves(world, job_id)[-2:] == [
            ("stopping", "time limit"),
            ("failed", "process killed"),
        ]
        await trio.sleep(1)
        assert [e.how for e in world.seen(seen.ProcessEnded)] == ["killed"]


async def test_a_job_without_a_process(autojump_clock: MockClock) -> None:
    async with open_world(num_idle_processes=0) as world:
        world.runner.init_error = "no such module"
        await world.offer("job")
        await world.assign("job")
        await world.end_of("job")
        assert moves(world, "job") == [("assigned", None), ("failed", "no process")]
        assert [f.cause for f in world.seen(seen.ProcessFailed)] == ["failed to initialize"]


async def test_why_offers_and_assignments_are_refused(autojump_clock: MockClock) -> None:
    load = [0.0]
    async with open_world(max_processes=1, load_fnc=lambda: load[0]) as world:
        running = await world.run_job(seconds=100)
        await world.offer("second")
        await world.assign("second")
        await world.end_of("second")
        await world.offer("second")
        await world.offer(running)
        await world.assign(running)
        await world.session.send({"type": "job_termination", "job_id": running})
        await world.end_of(running)
        await trio.sleep(5)
        load[0] = 1.0
        await world.offer("third")
        world.worker.drain()
        await trio.lowlevel.checkpoint()
        refusals = [o.refusal for o in world.seen(seen.OfferAnswered)]
        assert refusals == [None, "at capacity", "already ended", "already running", "overloaded"]
        [refused] = world.seen(seen.AssignmentRefused)
        assert (refused.job_id, refused.refusal) == ("second", "at capacity")
        assert [r.job_id for r in world.seen(seen.AssignmentRepeated)] == [running]
        assert [s.stage for s in world.seen(seen.ShutdownAdvanced)] == ["draining"]


@pytest.mark.parametrize(
    ("answer", "refusal"),
    [(False, "request_fnc declined"), ("busy", "request_fnc declined"), (7, "request_fnc failed")],
)
async def test_what_request_fnc_says(
    autojump_clock: MockClock, answer: object, refusal: str
) -> None:
    async def decide(job: object) -> Any:
        await trio.sleep(2)
        return answer

    async with open_world(request_fnc=decide) as world:
        await world.offer("job")
        assert [o.refusal for o in world.seen(seen.OfferAnswered)] == [refusal]
        assert stages(world, "job")[DispatchStage.OFFER_TO_ANSWER] == pytest.approx(2)


async def test_a_request_fnc_that_takes_too_long(autojump_clock: MockClock) -> None:
    async def decide(job: object) -> None:
        await trio.sleep_forever()

    async with open_world(request_fnc=decide, request_timeout=4) as world:
        await world.offer("job")
        [answered] = world.seen(seen.OfferAnswered)
        assert answered.refusal == "request_fnc timed out"


async def test_a_promise_that_is_not_kept(world: World, autojump_clock: MockClock) -> None:
    await world.offer("job")
    await trio.sleep(10)
    assert [e.job_id for e in world.seen(seen.PromiseExpired)] == ["job"]


async def test_processes_come_and_go(world: World, autojump_clock: MockClock) -> None:
    await trio.sleep(1)
    job_id = await world.run_job(seconds=5)
    await world.end_of(job_id)
    await trio.sleep(1)
    ready = world.seen(seen.ProcessReady)
    assert [r.seconds for r in ready] == pytest.approx([0.1] * len(ready))
    [given] = world.seen(seen.ProcessGiven)
    assert given.is_warm
    [ended] = world.seen(seen.ProcessEnded)
    assert (ended.pid, ended.how, ended.was_idle) == (given.pid, "clean", False)
    # One is idle, and one was, before anybody listened; each process counts once.
    assert len(world.seen(seen.ProcessStarted)) >= 1


async def test_a_session_that_is_lost_and_opened_again(
    world: World, autojump_clock: MockClock
) -> None:
    await world.session.send({"type": "nonsense-of-somebody", "x": 1})
    await trio.sleep(1)
    await world.session.drop()
    await world.registry.next_session()
    await trio.sleep(1)
    [ended] = world.seen(seen.RegistrySessionEnded)
    assert ended.epoch == 1
    assert ended.lost_because is not None
    assert [f.cause for f in world.seen(seen.AttemptFailed)] == ["lost"]
    assert [o.epoch for o in world.seen(seen.RegistrySessionOpened)] == [2]
    assert [f.kind for f in world.seen(seen.FrameIgnored)] == ["unknown"]


async def test_messages_are_counted_by_type(world: World, autojump_clock: MockClock) -> None:
    job_id = await world.run_job(seconds=1)
    await world.end_of(job_id)
    await until_proven(world)
    queued = [m.kind for m in world.seen(seen.MessageQueued)]
    assert queued.count("availability_response") == 1
    assert queued.count("job_update") == 2
    assert [m.kind for m in world.seen(seen.MessageProven)] == ["job_update"] * 2
    received = [f.kind for f in world.seen(seen.FrameReceived)]
    assert received.count("availability_request") == received.count("job_assignment") == 1


async def test_a_blocked_job_and_its_signs_of_life(world: World, autojump_clock: MockClock) -> None:
    job_id = await world.run_job(seconds=60, deaf=[7, 22])
    await trio.sleep(40)
    assert [b.job_id for b in world.seen(seen.LoopBlocked)] == [job_id]
    [freed] = world.seen(seen.LoopFreed)
    assert freed.seconds > 5
    assert {a.job_id for a in world.seen(seen.JobAnswered)} == {job_id}


async def test_a_listener_with_a_bug_costs_no_job(autojump_clock: MockClock) -> None:
    async with open_world() as world:

        def broken(observation: object) -> None:
            raise RuntimeError("a bug in a listener")

        observers = world.worker.observers
        observers.add(broken)
        job_id = await world.run_job(seconds=1)
        assert (await world.end_of(job_id))["status"] == "completed"
        [text] = observers.dropped
        assert "a bug in a listener" in text
        observers.dropped.clear()  # looked at; the world sees to it that no other has failed
