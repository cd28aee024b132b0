"""A little of what `python -m tests.fuzz` does at length: the corpus, and some new inputs.

Always the same inputs, so that a failure here is one of the change that is being tested.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import trio

from vsdk_trio.errors import WireError

from .base import TOKEN, BrokenPromise, Target, only, simulate
from .hunt import CORPUS, Findings, TooSlowError, corpus_of, hunt, strict, time_limit
from .mutate import Mutator
from .targets.all import TARGETS

_BUILT = 50


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_is_found(name: str) -> None:
    target = TARGETS[name]
    findings = hunt(
        target, built=_BUILT, mutated=target.quick, chance=1, seconds=40, directory=None
    )
    assert not findings.kinds
    assert findings.inputs > len(corpus_of(target))  # and more, where the machine is not busy


def test_every_corpus_is_of_a_target() -> None:
    assert {path.name for path in CORPUS.iterdir()} <= set(TARGETS)


# A search that cannot find is no search: what each oracle is for, it sees.


def _found(run: object, tmp_path: Path) -> list[str]:
    assert callable(run)
    findings = Findings(Target(name="broken", run=run, seeds=(b"",)), tmp_path / "found")
    with strict():
        findings.attempt(b"input")
        findings.attempt(b"input")
    assert (tmp_path / "found").is_dir() == bool(findings.kinds)
    return list(findings.kinds)


def test_an_error_of_another_class_is_found(tmp_path: Path) -> None:
    def run(data: bytes) -> None:
        with only(WireError):
            raise KeyError(data)

    [kind] = _found(run, tmp_path)
    assert kind.startswith("KeyError at test_fuzz.py")


def test_a_token_in_what_led_to_an_error_is_found(tmp_path: Path) -> None:
    def run(data: bytes) -> None:
        with only(WireError):
            try:
                raise ValueError(f"bad {TOKEN}")
            except ValueError as error:
                raise WireError("bad") from error

    assert "the token" in _found(run, tmp_path)[0]


def test_an_overlong_error_is_found(tmp_path: Path) -> None:
    def run(data: bytes) -> None:
        with only(WireError):
            raise WireError("x" * 10_000)

    assert "an error of 0 characters" in _found(run, tmp_path)[0]


def test_a_wait_without_end_is_found(tmp_path: Path) -> None:
    assert "it hangs" in _found(lambda data: simulate(trio.sleep_forever), tmp_path)[0]


def test_what_is_as_it_should_be_is_not_found(tmp_path: Path) -> None:
    def run(data: bytes) -> None:
        with only(WireError):
            raise WireError("a text")

    assert _found(run, tmp_path) == []


def test_a_loop_is_found() -> None:
    def loop() -> None:
        while True:
            pass

    with pytest.raises(TooSlowError), time_limit(0.01):
        loop()


def test_a_promise_is_broken_aloud() -> None:
    def hang() -> None:
        simulate(trio.sleep_forever)

    with pytest.raises(BrokenPromise, match="it hangs"):
        hang()


def test_mutations_are_the_same_again() -> None:
    def mutations() -> list[bytes]:
        mutator = Mutator(random.Random(3), [b"word"])
        return [mutator.mutate(b'{"a": [1, "x"]}\nline', b"other") for _ in range(200)]

    assert mutations() == mutations()
    assert len(set(mutations())) > 150
