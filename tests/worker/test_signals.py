"""Which signal does what to a worker, and that `nohup` is respected."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from functools import partial

import pytest
import trio
import trio.testing

from vsdk_trio._service import open_service
from vsdk_trio._signals import ending_signals
from vsdk_trio.worker.shutdown import Shutdown, Stage
from vsdk_trio.worker.signals import watch_signals

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
async def test_a_signal_and_a_second_one(signum: signal.Signals, stage: Stage) -> None:
    shutdown = Shutdown()
    with trio.fail_after(5):
        async with open_service(partial(watch_signals, shutdown), grace=1):
            signal.raise_signal(signum)
            await shutdown.reached(stage).wait()
            assert (shutdown.stage, shutdown.reason) == (stage, signum.name)
            signal.raise_signal(signum)
            await shutdown.reached(Stage.HURRYING).wait()


async def test_a_hangup_that_is_ignored_stays_ignored(hangup_ignored: None) -> None:
    shutdown = Shutdown()
    assert ending_signals() == (signal.SIGINT, signal.SIGTERM)
    async with open_service(partial(watch_signals, shutdown), grace=1):
        signal.raise_signal(signal.SIGHUP)
        await trio.testing.wait_all_tasks_blocked()
    assert shutdown.stage is Stage.SERVING
