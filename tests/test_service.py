"""`open_service`: background work that outlives the cancellation of its users."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from vsdk_trio._service import ServiceStoppedError, open_service


class Recorder:
    """A service that notes when it was told to stop and what it did then."""

    def __init__(self, *, goodbye_seconds: float = 0.0) -> None:
        self.goodbye_seconds = goodbye_seconds
        self.timeline: list[tuple[float, str]] = []

    def note(self, what: str) -> None:
        self.timeline.append((trio.current_time(), what))

    async def run(self, stopping: trio.Event, *, task_status: trio.TaskStatus[str]) -> None:
        task_status.started("value")
        try:
            await stopping.wait()
            self.note("stopping")
            await trio.sleep(self.goodbye_seconds)
            self.note("goodbye")
        finally:
            self.note("gone")


async def test_it_stops_after_its_body(autojump_clock: MockClock) -> None:
    service = Recorder(goodbye_seconds=1)
    async with open_service(service.run, grace=5) as value:
        await trio.sleep(10)
        service.note("body ends")
    assert value == "value"
    assert service.timeline == [(10, "body ends"), (10, "stopping"), (11, "goodbye"), (11, "gone")]


async def test_a_grace_ends_it(autojump_clock: MockClock) -> None:
    service = Recorder(goodbye_seconds=60)
    async with open_service(service.run, grace=5):
        pass
    assert service.timeline == [(0, "stopping"), (5, "gone")]


async def test_it_outlives_a_cancellation_in_every_run(autojump_clock: MockClock) -> None:
    """Trio shuffles its scheduler, so many runs must agree."""
    for _ in range(50):
        service = Recorder(goodbye_seconds=1)
        started = trio.current_time()
        with trio.move_on_after(2):
            async with open_service(service.run, grace=5):
                try:
                    await trio.sleep_forever()
                finally:
                    service.note("body ends")
        assert [(t - started, what) for t, what in service.timeline] == [
            (2, "body ends"),
            (2, "stopping"),
            (3, "goodbye"),
            (3, "gone"),
        ]


async def test_starting_is_cancelled_at_once(autojump_clock: MockClock) -> None:
    async def never_starts(stopping: trio.Event, *, task_status: trio.TaskStatus[None]) -> None:
        await trio.sleep_forever()

    with trio.move_on_after(1) as scope:
        async with open_service(never_starts, grace=60):
            raise AssertionError("the body must not run")
    assert scope.cancelled_caught
    assert trio.current_time() == 1


async def test_an_early_end_is_an_error(autojump_clock: MockClock) -> None:
    async def returns(stopping: trio.Event, *, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()

    with pytest.RaisesGroup(pytest.RaisesExc(ServiceStoppedError, match="returns ended before")):
        async with open_service(returns, grace=1):
            await trio.sleep_forever()


async def test_its_crash_cancels_the_body(autojump_clock: MockClock) -> None:
    async def crashes(stopping: trio.Event, *, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await trio.sleep(1)
        raise ValueError("broken")

    with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="broken")):
        async with open_service(crashes, grace=1):
            await trio.sleep_forever()
    assert trio.current_time() == 1


async def test_the_bodys_error_comes_out_after_the_goodbye(autojump_clock: MockClock) -> None:
    service = Recorder(goodbye_seconds=1)
    with pytest.RaisesGroup(pytest.RaisesExc(KeyError)):
        async with open_service(service.run, grace=5):
            raise KeyError("x")
    assert service.timeline[-1] == (1, "gone")


async def test_cancelled_at_any_moment_of_its_start_it_is_a_cancellation() -> None:
    """Nothing in it that has seen the cancellation may be shielded from it afterwards."""

    async def restless() -> None:
        while True:  # trio raises AssertionError here, if a shield comes between its two looks
            await trio.lowlevel.checkpoint_if_cancelled()
            await trio.lowlevel.cancel_shielded_checkpoint()

    async def run(stopping: trio.Event, *, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(restless)
            await trio.lowlevel.checkpoint()
            task_status.started()
            await stopping.wait()
            nursery.cancel_scope.cancel()

    for k in range(400):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:

                async def use(nursery: trio.Nursery = nursery) -> None:
                    async with open_service(run, grace=1):
                        await trio.sleep_forever()

                nursery.start_soon(use)
                for _ in range(k % 10):
                    await trio.lowlevel.checkpoint()
                scope.cancel()
        assert scope.cancelled_caught
