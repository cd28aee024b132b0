"""Which signal does what to a worker, and that `nohup` is respected."""

from __future__ import annotations

import signal
import weakref
from collections.abc import Iterator
from functools import partial

import pytest
import trio
import trio.testing

from vsdk_trio._service import open_service
from vsdk_trio.system.signals import ending_signals, interrupt_held_back
from vsdk_trio.system.stopping import Stage
from vsdk_trio.worker.shutdown import Shutdown, watch_signals

pytestmark = pytest.mark.real


@pytest.fixture
def hangup_ignored() -> Iterator[None]:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    ("signum", "stage"),
    [
        (signal.SIGINT, Stage.STOPPING),
        (signal.SIGTERM, Stage.DRAINING),
        (signal.SIGHUP, Stage.DRAINING),
    ],
)
async def test_a_signal_and_the_same_again(signum: signal.Signals, stage: Stage) -> None:
    shutdown = Shutdown()
    with trio.fail_after(5):
        async with open_service(partial(watch_signals, shutdown), grace=1):
            signal.raise_signal(signum)
            await shutdown.reached(stage).wait()
            assert (shutdown.stage, shutdown.reason) == (stage, signum.name)
            signal.raise_signal(signum)
            await trio.testing.wait_all_tasks_blocked()
    assert (shutdown.stage, shutdown.reason) == (stage, signum.name)


async def test_a_hangup_that_is_ignored_stays_ignored(hangup_ignored: None) -> None:
    shutdown = Shutdown()
    assert ending_signals() == (signal.SIGINT, signal.SIGTERM)
    async with open_service(partial(watch_signals, shutdown), grace=1):
        signal.raise_signal(signal.SIGHUP)
        await trio.testing.wait_all_tasks_blocked()
    assert shutdown.stage is Stage.SERVING


def _interrupted_in_a_callback() -> None:
    """What an import does now and then: Python drops whatever the callback raises."""
    held: set[int] = set()
    reference = weakref.ref(held, lambda _: signal.raise_signal(signal.SIGINT))
    del held
    assert reference() is None


def _load(done: list[str], *, interrupts: int) -> None:
    with interrupt_held_back():
        _interrupted_in_a_callback()
        for _ in range(1, interrupts):
            signal.raise_signal(signal.SIGINT)
        done.append("all")


def test_an_interrupt_while_code_is_loaded_comes_after_it() -> None:
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        _load(done, interrupts=1)
    assert done == ["all"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_interrupt_comes_at_once() -> None:
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        _load(done, interrupts=2)
    assert done == []


def test_without_an_interrupt_all_is_as_before() -> None:
    with interrupt_held_back():
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_that_somebody_else_handles_is_not_held_back() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGINT, lambda signum, _: seen.append(signum))
    try:
        with interrupt_held_back():
            signal.raise_signal(signal.SIGINT)
            assert seen == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)
