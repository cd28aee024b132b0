"""The table of stages and requests: what a signal, a route or a program does to what runs."""

from __future__ import annotations

import signal
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsdk_trio.system.stopping import TABLE, Request, Stage, Stopping

GENTLE = (signal.SIGTERM, signal.SIGHUP)


def after(*signals: tuple[float, signal.Signals]) -> Stage:
    stopping = Stopping()
    for now, signum in signals:
        stopping.ask(stopping.request_of(signum, now))
    return stopping.stage


def test_the_table_is_whole_and_never_goes_back() -> None:
    assert set(TABLE) == set(product(Stage, Request))
    assert all(after >= before for (before, _), after in TABLE.items())


@pytest.mark.parametrize(("stage", "request_"), list(product(Stage, Request)))
def test_a_request_again_changes_nothing(stage: Stage, request_: Request) -> None:
    stopping = Stopping(stage=stage)
    stopping.ask(request_)
    assert not stopping.ask(request_)


@pytest.mark.parametrize(
    ("signals", "stage"),
    [
        (((0, signal.SIGTERM),), Stage.DRAINING),
        (((0, signal.SIGHUP),), Stage.DRAINING),
        (((0, signal.SIGINT),), Stage.STOPPING),
        (((0, signal.SIGTERM), (9, signal.SIGTERM)), Stage.DRAINING),
        (((0, signal.SIGTERM), (0.005, signal.SIGHUP)), Stage.DRAINING),
        (((0, signal.SIGTERM), (9, signal.SIGINT)), Stage.STOPPING),
        (((0, signal.SIGINT), (9, signal.SIGTERM)), Stage.STOPPING),
        (((0, signal.SIGINT), (0.005, signal.SIGINT)), Stage.STOPPING),
        (((0, signal.SIGINT), (0.005, signal.SIGTERM)), Stage.STOPPING),
        (((0, signal.SIGINT), (0.49, signal.SIGINT), (0.5, signal.SIGINT)), Stage.HURRYING),
        (((0, signal.SIGTERM), (8, signal.SIGINT), (9, signal.SIGINT)), Stage.HURRYING),
    ],
)
def test_what_signals_do(signals: tuple[tuple[float, signal.Signals], ...], stage: Stage) -> None:
    assert after(*signals) is stage


@given(st.lists(st.tuples(st.floats(0, 100), st.sampled_from(GENTLE))))
def test_no_sequence_of_gentle_wishes_is_harsher_than_one(
    signals: list[tuple[float, signal.Signals]],
) -> None:
    assert after(*sorted(signals)) <= Stage.DRAINING


@given(st.lists(st.tuples(st.floats(0, 100), st.sampled_from((*GENTLE, signal.SIGINT)))))
def test_only_a_second_interrupt_hurries(signals: list[tuple[float, signal.Signals]]) -> None:
    interrupts = sorted(now for now, signum in signals if signum == signal.SIGINT)
    hurries = bool(interrupts) and interrupts[-1] - interrupts[0] >= 0.5
    assert (after(*sorted(signals)) is Stage.HURRYING) is hurries
