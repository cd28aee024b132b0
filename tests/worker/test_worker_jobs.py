"""What a worker does with jobs, seen from the registry; everything simulated but the worker."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from vsdk_trio.errors import OptionsError
from vsdk_trio.options.worker import JobRequest
from vsdk_trio.testing.processes import ScriptedRunner
from vsdk_trio.worker import engine

from .conftest import World, open_world

CANCELLED = "completed"  # with an error that says why: the deployed vocabulary


async def test_a_job_that_returns(world: World, autojump_clock: MockClock) -> None:
    job_id = await world.run_job(seconds=5)
    assert await world.end_of(job_id) == {
        "type": "job_update",
        "job_id": job_id,
        "status": "completed",
    }
    assert world.updates(job_id) == [("running", None), ("completed", None)]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ({"end": "failed", "error": "ValueError: no"}, "ValueError: no"),
        ({"end": "exit", "code": 3}, "exited with code 3"),
        ({"end": "signal"}, "killed by SIGSEGV"),
    ],
)
async def test_a_job_that_fails(
    script: dict[str, Any], said: str, world: World, autojump_clock: MockClock
) -> None:
    end = await world.end_of(await world.run_job(**script))
    assert end["status"] == "failed"
    assert said in end["error"]


async def test_the_documented_vocabulary(autojump_clock: MockClock) -> None:
    async with open_world(status_vocabulary="documented") as world:
        job_id = await world.run_job(seconds=50)
        await world.session.send({"type": "job_termination", "job_id": job_id, "reason": "no"})
        assert (await world.end_of(job_id))["status"] == "cancelled"


async def test_a_terminated_job_stops_politely(world: World, autojump_clock: MockClock) -> None:
    job_id = await world.run_job(seconds=500)
    await world.session.send({"type": "job_termination", "job_id": job_id, "reason": "enough"})
    end = await world.end_of(job_id)
    assert (end["status"], end["error"]) == (CANCELLED, "terminated: enough")
    assert world.runner.callbacks_run == [job_id]


async def test_a_job_that_will_not_stop_is_killed(autojump_clock: MockClock) -> None:
    async with open_world(close_timeout=10, termination_timeout=2) as world:
        job_id = await world.run_job(seconds=500, on_stop="stuck")
        terminated_at = trio.current_time()
        await world.session.send({"type": "job_termination", "job_id": job_id})
        end = await world.end_of(job_id)
        assert end["status"] == "failed"
        assert end["error"].startswith("terminated; the job process did not stop")
        assert trio.current_time() - terminated_at == pytest.approx(10 + 2 + 2, abs=0.1)


async def test_slots_are_counted_from_the_yes(world: World, autojump_clock: MockClock) -> None:
    answers = [await world.offer(f"job-{n}") for n in range(5)]
    assert [a["available"] for a in answers] == [True, True, False, False, False]
    assert answers[0]["token"] == "worker-token"
    assert answers[2]["error"] == "at capacity: 0 running and 2 promised of 2"
    assert "token" not in answers[2]


async def test_a_promise_that_is_not_kept_frees_its_slot(
    world: World, autojump_clock: MockClock
) -> None:
    await world.offer("a")
    await world.offer("b")
    await trio.sleep(7.4)
    assert not (await world.offer("c"))["available"]
    await trio.sleep(0.2)
    assert (await world.offer("c"))["available"]


async def test_a_slot_is_free_again_after_its_job(world: World, autojump_clock: MockClock) -> None:
    for _ in range(5):
        jobs = [await world.run_job(seconds=1), await world.run_job(seconds=1)]
        for job_id in jobs:
            await world.end_of(job_id)
        await trio.sleep(1)
    assert len(world.runner.started) == 10


async def test_an_unasked_assignment_is_taken_if_there_is_room(
    world: World, autojump_clock: MockClock
) -> None:
    for number in range(3):
        await world.assign(f"job-{number}", seconds=5)
    refused = await world.end_of("job-2")
    assert refused["status"] == "failed"
    assert refused["error"].startswith("at capacity")
    assert (await world.end_of("job-1"))["status"] == "completed"


async def test_a_job_assigned_twice_runs_once(world: World, autojump_clock: MockClock) -> None:
    job_id = await world.run_job(seconds=5)
    await world.assign(job_id)
    await world.session.expect("job_update", job_id=job_id, status="running")
    await world.end_of(job_id)
    await world.assign(job_id)
    assert (await world.end_of(job_id))["status"] == "completed"
    assert len(world.runner.started) == 1


async def test_a_refused_assignment_stays_refused(autojump_clock: MockClock) -> None:
    async with open_world(max_processes=1) as world:
        await world.run_job(seconds=5)
        await world.assign("late")
        refusal = await world.end_of("late")
        await trio.sleep(10)
        await world.assign("late")
        assert await world.session.expect("job_update", job_id="late") == refusal
        assert await world.session.expect("job_update", job_id="late") == refusal
        assert (await world.offer("late"))["error"] == "job late has already ended here"
        assert (await world.offer("other"))["available"]
        assert [job.job_id for _, job in world.runner.started] == ["job-1"]


async def test_a_job_that_is_not_here_is_not_spoken_of(
    world: World, autojump_clock: MockClock
) -> None:
    await world.session.send({"type": "job_termination", "job_id": "elsewhere"})
    await trio.sleep(60)
    assert world.updates("elsewhere") == []


async def test_termination_withdraws_a_promise(autojump_clock: MockClock) -> None:
    async with open_world(max_processes=1) as world:
        await world.offer("a")
        await world.session.send({"type": "job_termination", "job_id": "a"})
        assert (await world.offer("b"))["available"]


async def test_a_job_stopped_while_it_starts(autojump_clock: MockClock) -> None:
    async with open_world(num_idle_processes=0, runner=ScriptedRunner(init_seconds=5)) as world:
        await world.offer("a")
        await world.assign("a")
        await trio.sleep(1)
        await world.session.send({"type": "job_termination", "job_id": "a", "reason": "early"})
        end = await world.end_of("a")
        # `completed` would tell the registry that a call took place.
        assert (end["status"], end.get("error")) == (
            "failed",
            "terminated: early; the job had not begun",
        )
        assert world.runner.started == []


async def test_a_process_that_cannot_start_is_a_failed_job(autojump_clock: MockClock) -> None:
    async with open_world(num_idle_processes=0) as world:
        world.runner.init_error = "ImportError: no module"
        await world.offer("a")
        await world.assign("a")
        end = await world.end_of("a")
        assert end["status"] == "failed"
        assert "ImportError: no module" in end["error"]


async def test_a_process_that_takes_too_long_is_a_failed_job(autojump_clock: MockClock) -> None:
    async with open_world(num_idle_processes=0) as world:
        world.runner.init_seconds = 99
        await world.offer("a")
        await world.assign("a")
        assert "not ready within 10 s" in (await world.end_of("a"))["error"]


@pytest.mark.parametrize(
    ("option", "own", "expected"),
    [(5.0, None, 5.0), (5.0, 2.0, 2.0), (None, 3.0, 3.0), (5.0, 0.5, 0.5)],
)
async def test_a_job_has_its_time(
    option: float | None, own: float | None, expected: float, autojump_clock: MockClock
) -> None:
    async with open_world(job_timeout=option) as world:
        await world.offer("a")
        await world.assign("a", seconds=500, fields={"timeout": own})
        await world.session.expect("job_update", status="running")
        began = trio.current_time()
        end = await world.end_of("a")
        assert (end["status"], end.get("error")) == ("failed", f"ran longer than {expected:g} s")
        assert trio.current_time() - began == pytest.approx(expected, abs=0.1)


async def test_a_job_over_its_memory_limit_fails(autojump_clock: MockClock) -> None:
    async with open_world(memory_limit_mb=100, memory_warn_mb=50) as world:
        job_id = await world.run_job(seconds=500)
        for process in world.spawner.processes:
            process.inside.memory_mb = 130.0  # type: ignore[attr-defined]  # the simulated one
        end = await world.end_of(job_id)
        assert end["status"] == "failed"
        assert end["error"] == "used 130 MB of memory, more than the limit of 100 MB"


async def test_a_job_that_grows_instead_of_stopping_is_killed(autojump_clock: MockClock) -> None:
    async with open_world(memory_limit_mb=100) as world:
        job_id = await world.run_job(seconds=500, on_stop="stuck")
        await trio.sleep(3)
        began = trio.current_time()
        for memory in (130.0, 150.0, 170.0):
            for process in world.spawner.processes:
                process.inside.memory_mb = memory  # type: ignore[attr-defined]  # the simulated one
            await trio.sleep(5)
        end = await world.end_of(job_id)
        assert trio.current_time() - began < 20  # and not `close_timeout`
        assert end["error"] == (
            "used 130 MB of memory, more than the limit of 100 MB; "
            "the job process was killed by SIGKILL (out of memory?)"
        )


async def test_memory_above_the_first_limit_is_said_once_in_a_while(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    # A simulated process has 20 MB.
    async with open_world(memory_warn_mb=15, memory_warn_cooldown=60) as world:
        job_id = await world.run_job(seconds=600)
        for process in world.spawner.processes:
            process.inside.memory_mb = 10.0  # type: ignore[attr-defined]  # as above
        await trio.sleep(3)
        for process in world.spawner.processes:
            process.inside.memory_mb = 90.0  # type: ignore[attr-defined]  # as above
        await trio.sleep(90)
    said = [r for r in caplog.records if "MB of memory" in r.getMessage()]
    assert [record.getMessage() for record in said] == [
        f"job uses 90 MB of memory, more than 15 MB; 80 MB more than {seconds} s ago, when it began"
        for seconds in (5, 65)
    ]
    assert said[0].__dict__["job_id"] == job_id
    assert said[0].__dict__["room_id"] == "room"
    assert said[0].__dict__["agent_id"] == "agent"


async def test_a_job_that_blocks_its_loop_is_said_to(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_world() as world:
        job_id = await world.run_job(seconds=600, deaf=[20, 50])
        await trio.sleep(40)
        (process,) = [p for p, _ in world.worker._driver.pool.processes() if p.job_id == job_id]
        assert (process.lag_seconds or 0) > 15
        await trio.sleep(50)
        assert process.lag_seconds == 0
        assert world.updates(job_id) == [("running", None)]
    said = [r.getMessage() for r in caplog.records if r.name.endswith("health_watch")]
    assert said == [
        "job blocks its event loop for 5.0 s; where, it cannot tell",
        "job answers again; its event loop was blocked for 29.0 s",
    ]


@pytest.mark.parametrize("options", [{"loop_warn_after": 0}, {"loop_warn_after": 40}])
async def test_a_block_is_said_only_when_it_is_long(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, options: dict[str, Any]
) -> None:
    async with open_world(**options) as world:
        await world.run_job(seconds=600, deaf=[20, 50])
        await trio.sleep(90)
    assert not [r for r in caplog.records if r.name.endswith("health_watch")]


async def test_running_waits_for_the_room(world: World, autojump_clock: MockClock) -> None:
    await world.offer("a")
    await world.assign("a", joins=3, seconds=9, fields={"wait": True})
    update = await world.session.expect("job_update", job_id="a")
    joined_at = trio.current_time()
    assert (update["status"], update["participant_identity"]) == ("running", "agent")
    await world.end_of("a")
    assert trio.current_time() - joined_at == pytest.approx(9, abs=0.1)


@pytest.mark.parametrize("name", ["x" * (2 << 20), "\ud800"], ids=["long", "no Unicode"])
async def test_a_name_that_no_message_carries_costs_nothing(
    name: str, world: World, autojump_clock: MockClock
) -> None:
    """It comes from the room that a job has joined, not from the registry."""
    world.runner.participant_name = name
    await world.offer("a")
    await world.assign("a", joins=1, fields={"wait": True})
    update = await world.session.expect("job_update", job_id="a", status="running")
    assert 0 < len(update["participant_name"]) <= 2000
    assert (await world.end_of("a"))["status"] == "completed"


async def test_the_job_is_told_everything(world: World, autojump_clock: MockClock) -> None:
    await world.offer("a")
    await world.assign(
        "a", seconds=1, fields={"room_options": {"vision": True, "traces": {"enabled": False}}}
    )
    await world.end_of("a")
    (_, job), *_ = world.runner.started
    assert (job.job_id, job.room_id, job.token, job.worker_id) == (
        "a",
        "room",
        "job-token",
        "worker-1",
    )
    assert job.room_options["vision"] is True
    assert job.room_options["traces"]["enabled"] is False
    assert job.room_options["room_id"] == "room"
    assert job.permissions["can_publish"] is True
    assert "job-token" not in repr(job)


async def test_a_job_without_a_token_gets_the_workers(
    world: World, autojump_clock: MockClock
) -> None:
    await world.assign("a", seconds=1, fields={"token": ""})
    await world.end_of("a")
    assert world.runner.started[0][1].token == "worker-token"


async def test_room_options_of_a_wrong_type_fail_the_job(
    world: World, autojump_clock: MockClock
) -> None:
    await world.assign("a", fields={"room_options": {"vision": "very"}})
    end = await world.end_of("a")
    assert end["status"] == "failed"
    assert "vision" in end["error"]
    assert (await world.offer("b"))["available"]


# request_fnc


async def _refuse_odd_rooms(request: JobRequest) -> bool:
    await trio.sleep(0.1)
    return not request.room_id.endswith("1")


def _reason(request: JobRequest) -> str:
    return "not on a Sunday"


def _raises(request: JobRequest) -> bool:
    raise LookupError("no calendar")


async def _never(request: JobRequest) -> bool:
    await trio.sleep(math.inf)
    return True


def _wrong(request: JobRequest) -> Any:
    return 3


async def test_request_fnc_decides(autojump_clock: MockClock) -> None:
    async with open_world(request_fnc=_refuse_odd_rooms) as world:
        request = {"type": "availability_request", "job_id": "a"}
        await world.session.send({**request, "room_id": "room-1"})
        answer = await world.session.expect("availability_response")
        assert (answer["available"], answer["error"]) == (False, "refused by request_fnc")
        await world.session.send({**request, "room_id": "room-2"})
        assert (await world.session.expect("availability_response"))["available"]


@pytest.mark.parametrize(
    ("request_fnc", "said"),
    [
        (_reason, "not on a Sunday"),
        (_raises, "request_fnc raised LookupError: no calendar"),
        (_never, "request_fnc did not decide within 5 s"),
        (_wrong, "request_fnc must return a bool, None or a reason, got int"),
    ],
)
async def test_request_fnc_refuses(request_fnc: Any, said: str, autojump_clock: MockClock) -> None:
    # A plain function runs in a real thread, which a jumping clock would not wait for.
    autojump_clock.autojump_threshold = 0.05
    async with open_world(request_fnc=request_fnc, max_processes=1) as world:
        assert (await world.offer("a"))["error"] == said
        assert (await world.offer("b"))["error"] == said  # the slot of the first is free again


async def test_two_offers_of_one_job_get_an_answer_each(autojump_clock: MockClock) -> None:
    async with open_world(request_fnc=_refuse_odd_rooms, max_processes=1) as world:
        for _ in range(2):
            await world.session.send(
                {"type": "availability_request", "job_id": "a", "room_id": "room"}
            )
        for _ in range(2):
            assert (await world.session.expect("availability_response"))["available"]


# load


async def test_load_is_the_share_of_slots_promises_included(
    world: World, autojump_clock: MockClock
) -> None:
    first = await world.session.expect("status_update")
    assert (first["status"], first["load"], first["job_count"]) == ("available", 0.0, 0)
    await world.offer("a")
    promised = await world.session.expect("status_update", load=0.5)
    assert promised["job_count"] == 0
    await world.assign("a", seconds=3)
    assert (await world.session.expect("status_update", job_count=1))["load"] == 0.5
    assert (await world.session.expect("status_update", job_count=0))["load"] == 0.0


async def test_status_is_repeated_every_ping_interval(
    world: World, autojump_clock: MockClock
) -> None:
    await trio.sleep(100)
    times = [t for t, f in world.session.received if f["type"] == "status_update"]
    assert [b - a for a, b in pairwise(times)][-3:] == pytest.approx([30, 30, 30])


async def test_load_fnc_is_measured_against_the_threshold(autojump_clock: MockClock) -> None:
    loads = [0.2]
    async with open_world(load_fnc=lambda: loads[0]) as world:
        assert (await world.offer("a"))["available"]
        loads[0] = 0.9
        answer = await world.offer("b")
        assert answer["error"] == "overloaded: load 0.90 is above the threshold 0.75"


async def test_a_load_fnc_that_breaks_later_costs_no_call(autojump_clock: MockClock) -> None:
    loads: list[Any] = [0.5]
    async with open_world(load_fnc=lambda: loads[0]) as world:
        loads[0] = "much"
        assert (await world.offer("a"))["available"]


async def test_a_load_fnc_that_never_works_is_an_error_at_start(
    autojump_clock: MockClock,
) -> None:
    with pytest.RaisesGroup(
        pytest.RaisesExc(OptionsError, match="load_fnc"),
        allow_unwrapped=True,
        flatten_subgroups=True,
    ):
        async with open_world(load_fnc=lambda: "much"):
            pass


async def test_ended_jobs_are_forgotten_in_the_end(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "REMEMBERED_JOBS", 2)
    async with open_world() as world:
        for job_id in ("a", "b", "c"):
            await world.assign(job_id, seconds=1)
            await world.end_of(job_id)
            await trio.sleep(1)
        await world.assign("c")
        assert (await world.end_of("c"))["status"] == "completed"
        await world.assign("a")
        await world.session.expect("job_update", job_id="a", status="running")


@pytest.mark.parametrize(
    ("options", "seconds"),
    [({}, 30), ({"join_timeout_seconds": 7}, 7), ({"join_timeout_seconds": 0.5}, 0.5)],
)
async def test_a_job_that_never_joins_is_failed_where_the_registry_waits(
    options: dict[str, Any], seconds: float, world: World, autojump_clock: MockClock
) -> None:
    await world.offer("a")
    started = trio.current_time()
    await world.assign("a", seconds=1000, fields={"wait": True, "room_options": options})
    end = await world.end_of("a")
    assert (end["status"], end.get("error")) == (
        "failed",
        f"has not joined its room within {seconds} s",
    )
    assert seconds <= trio.current_time() - started < seconds + 5
    assert [u["status"] for u in world.session.of_type("job_update")] == ["failed"]


async def test_a_job_may_take_its_time_to_join_where_nobody_waits(
    world: World, autojump_clock: MockClock
) -> None:
    await world.offer("a")
    await world.assign("a", seconds=100)
    assert (await world.end_of("a"))["status"] == "completed"


async def test_a_job_that_grows_fast_is_caught_near_its_limit(autojump_clock: MockClock) -> None:
    async with open_world(memory_limit_mb=250, health_interval=30) as world:
        job_id = await world.run_job(seconds=500)

        async def grow() -> None:
            while True:
                for process in world.spawner.processes:
                    process.inside.memory_mb += 1  # type: ignore[attr-defined]  # the simulated one
                await trio.sleep(0.25)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(grow)
            end = await world.end_of(job_id)
            nursery.cancel_scope.cancel()
    assert str(end["error"]).startswith(
        "used 25"
    )  # 4 MB a second: every 30 s it would be up to 370
