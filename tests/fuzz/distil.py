"""Chooses, of many inputs, a few that together do what all of them do, line after line."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any, TypeAlias

from .base import Target
from .hunt import Findings, strict

_MOST = 36
_MAX_BYTES = 8192

# A file, two lines that follow each other, and how often they do, as a power of two.
_Step: TypeAlias = tuple[str, int, int, int]
_Watched = ("/vsdk_trio/", "/trio_websocket/", "/wsproto/", "/h11/")


def steps_of(target: Target, data: bytes) -> frozenset[_Step]:
    """The steps from line to line in the program that an input makes."""
    seen: Counter[tuple[str, int, int]] = Counter()

    def watch(code_name: str) -> Callable[[FrameType, str, Any], Any]:
        last = 0

        def step(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal last
            if event == "line":
                seen[code_name, last, frame.f_lineno] += 1
                last = frame.f_lineno
            return step

        return step

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        name = frame.f_code.co_filename
        return watch(name) if any(part in name for part in _Watched) else None

    sys.settrace(trace)
    try:
        Findings(target).attempt(data)
    finally:
        sys.settrace(None)
    return frozenset((*step, count.bit_length()) for step, count in seen.items())


def distil(target: Target, inputs: Iterable[bytes]) -> list[bytes]:
    """The inputs worth keeping: small ones first, each for something that those before lack."""
    with strict():
        known: set[_Step] = set().union(*(steps_of(target, seed) for seed in target.seeds))
        candidates = sorted({data for data in inputs if len(data) <= _MAX_BYTES}, key=len)
        reach = {data: steps_of(target, data) for data in candidates}
    kept: list[bytes] = []
    while len(kept) < _MOST:
        best = max(reach, key=lambda data: (len(reach[data] - known), -len(data)), default=None)
        if best is None or not reach[best] - known:
            break
        known |= reach.pop(best)
        kept.append(best)
    return kept
