"""Puts inputs into a target and keeps what breaks it. Knows nothing of any one target."""

from __future__ import annotations

import gc
import hashlib
import logging
import random
import re
import resource
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

import attrs
from hypothesis import HealthCheck, Phase, given, seed, settings

from .base import Target
from .mutate import Mutator

CORPUS: Final = Path(__file__).parent / "corpus"
SECONDS_PER_INPUT: Final = 10.0
_MEMORY_MB: Final = 256
_MAX_KINDS: Final = 20
_AT_ONCE: Final = 100
_PACKAGE: Final = "vsdk_trio"


class TooSlowError(BaseException):
    """An input took too long; no Exception, so that nothing on its way can take it for its own."""


def corpus_of(target: Target) -> list[bytes]:
    """The seeds of a target, and what is kept of it in the repository."""
    kept = sorted((CORPUS / target.name).glob("*"))
    return [*target.seeds, *(path.read_bytes() for path in kept)]


def name_of(data: bytes) -> str:
    """The file name of an input."""
    return hashlib.sha256(data).hexdigest()[:16]


@contextmanager
def time_limit(seconds: float) -> Generator[None]:
    """Raise `TooSlowError` in the block when it takes longer."""

    def stop(signum: int, frame: FrameType | None) -> None:
        raise TooSlowError(f"more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def strict() -> Generator[list[str]]:
    """Warnings are errors; what nobody can catch is listed; the program's log goes nowhere."""
    unraised: list[str] = []

    def note(event: Any) -> None:
        unraised.append(f"{event.err_msg} {event.object!r}: {event.exc_value!r}")

    logger = logging.getLogger(_PACKAGE)
    hook, sys.unraisablehook = sys.unraisablehook, note
    handler = logging.NullHandler()
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield unraised
    finally:
        sys.unraisablehook = hook
        logger.propagate = propagate
        logger.removeHandler(handler)


@attrs.define
class Findings:
    """One finding of each kind; where there is a `directory`, the inputs are kept in it."""

    target: Target
    directory: Path | None = None
    inputs: int = 0
    kinds: dict[str, bytes] = attrs.field(factory=dict)

    def attempt(self, data: bytes) -> None:
        """Run the target on one input."""
        self.inputs += 1
        try:
            with time_limit(SECONDS_PER_INPUT):
                self.target.run(data)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # whatever comes out of a target is what we look for
            self.note(kind_of(error), data, "".join(traceback.format_exception(error)))

    def note(self, kind: str, data: bytes, text: str) -> None:
        """Keep it, if it is the first of its kind."""
        if kind in self.kinds or len(self.kinds) >= _MAX_KINDS:
            return
        self.kinds[kind] = data
        print(f"{self.target.name}: {kind}\n{text[-3000:]}\n  input {data[:200]!r}", flush=True)
        if self.directory is not None:
            self.directory.mkdir(parents=True, exist_ok=True)
            (self.directory / f"{self.target.name}-{name_of(data)}").write_bytes(data)


def kind_of(error: BaseException) -> str:
    """What tells one finding from another: the class, and the place in the program."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if f"/{_PACKAGE}/" in frame.filename]
    at = (ours or frames)[-1]
    text = re.sub(r"\d+", "0", str(error))[:60]
    return f"{type(error).__name__} at {Path(at.filename).name}:{at.lineno}: {text}"


def memory_mb() -> float:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def replay(findings: Findings, inputs: Sequence[bytes]) -> None:
    """Run each input once."""
    for data in inputs:
        findings.attempt(data)


def build(findings: Findings, inputs: int, chance: int, until: float = float("inf")) -> None:
    """Run inputs that hypothesis makes, which are right in form; it is slow, and not stopped."""
    for number, start in enumerate(range(0, inputs, _AT_ONCE)):
        if time.monotonic() < until:
            _build_some(findings, min(_AT_ONCE, inputs - start), chance + number)


def _build_some(findings: Findings, inputs: int, chance: int) -> None:
    @seed(chance)
    @settings(
        max_examples=inputs,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(findings.target.built)
    def attempt(data: bytes) -> None:
        findings.attempt(data)

    attempt()


def mutate(findings: Findings, inputs: int, chance: int, until: float = float("inf")) -> None:
    """Run mutations of the corpus, and mutations of those."""
    rng = random.Random(chance)
    mutator = Mutator(rng, findings.target.words)
    corpus = corpus_of(findings.target)
    data = rng.choice(corpus)
    for _ in range(inputs):
        if time.monotonic() > until:
            break
        data = mutator.mutate(
            data if rng.random() < 0.4 else rng.choice(corpus), rng.choice(corpus)
        )
        findings.attempt(data)


def hunt(
    target: Target, *, built: int, mutated: int, chance: int, seconds: float, directory: Path | None
) -> Findings:
    """Replay the corpus, then so many inputs of each sort, within so many seconds."""
    findings = Findings(target, directory)
    with strict() as unraised:
        replay(findings, corpus_of(target))
        before = memory_mb()
        until = time.monotonic() + seconds
        build(findings, built, chance, until)
        mutate(findings, mutated, chance, until)
        gc.collect()
    for text in unraised:
        findings.note(f"unraised: {text[:80]}", b"", text)
    if (grown := memory_mb() - before) > _MEMORY_MB:
        findings.note("memory", b"", f"it grew by {grown:.0f} MB")
    return findings
