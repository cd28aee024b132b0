"""Changes inputs at random: bytes, words, and values of JSON. Knows nothing of targets."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any, Final

MAX_BYTES: Final = 1 << 16
_BYTES: Final = (
    b"\0",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\n",
    b"\r\n",
    b'"',
    b"{",
    b"}",
    b"\xed\xa0\x80",
)
_VALUES: Final[tuple[Any, ...]] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63) - 1, 0.5, -0.0, 1e308,
    "", "x", "\0", "\u2028", "\ud800", "é", "x" * 300, [], {}, [[]], [{}], {"": None}, ["x", 1],
)  # fmt: skip
_DEEP: Final = 40


class Mutator:
    """Arguments: `rng`, the source of chance; `words`, put in here and there."""

    def __init__(self, rng: random.Random, words: Sequence[bytes]) -> None:
        self._rng = rng
        self._words = tuple(words) + _BYTES
        self._ways = (
            self._flip, self._insert, self._insert, self._delete, self._repeat, self._swap_lines,
            self._number, self._json, self._json, self._json,
        )  # fmt: skip

    def mutate(self, data: bytes, other: bytes) -> bytes:
        """A changed `data`, now and then with a part of `other` in it."""
        rng = self._rng
        if rng.random() < 0.1:
            data = data[: rng.randint(0, len(data))] + other[rng.randint(0, len(other)) :]
        for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 5, 9))):
            way: Callable[[bytes], bytes] = rng.choice(self._ways)
            data = way(data)
        return bytes(data[:MAX_BYTES])

    def _span(self, data: bytes) -> tuple[int, int]:
        start = self._rng.randint(0, len(data))
        return start, min(len(data), start + self._rng.choice((1, 1, 2, 4, 8, 64)))

    def _flip(self, data: bytes) -> bytes:
        if not data:
            return data
        at = self._rng.randrange(len(data))
        return data[:at] + bytes([self._rng.randrange(256)]) + data[at + 1 :]

    def _insert(self, data: bytes) -> bytes:
        start, end = self._span(data)
        end = self._rng.choice((start, end))
        return data[:start] + self._rng.choice(self._words) + data[end:]

    def _delete(self, data: bytes) -> bytes:
        start, end = self._span(data)
        return data[:start] + data[end:]

    def _repeat(self, data: bytes) -> bytes:
        start, end = self._span(data)
        return data[:end] + data[start:end] * self._rng.choice((1, 2, 30)) + data[end:]

    def _swap_lines(self, data: bytes) -> bytes:
        lines = data.split(b"\n")
        self._rng.shuffle(lines)
        return b"\n".join(lines)

    def _number(self, data: bytes) -> bytes:
        if not data:
            return data
        at = self._rng.randrange(len(data))
        size = self._rng.choice((1, 2, 4, 8))
        number = self._rng.choice((0, 1, 127, 128, 255, 256, 65535, 2**31 - 1, 2**32 - 1, 2**63))
        return data[:at] + number.to_bytes(8, "big")[-size:] + data[at + size :]

    def _json(self, data: bytes) -> bytes:
        lines = data.split(b"\n")
        at = self._rng.randrange(len(lines))
        try:
            value: Any = json.loads(lines[at])
        except (ValueError, RecursionError):
            return self._insert(data)
        lines[at] = json.dumps(self._changed(value)).encode()
        return b"\n".join(lines)

    def _changed(self, value: Any) -> Any:
        rng = self._rng
        if isinstance(value, dict) and value and rng.random() < 0.85:
            key = rng.choice(list(value))
            changed = dict(value)
            match rng.randrange(6):
                case 0:
                    del changed[key]
                case 1:
                    changed[self._word()] = changed[key]
                case _:
                    changed[key] = self._changed(changed[key])
            return changed
        if isinstance(value, list) and value and rng.random() < 0.7:
            at = rng.randrange(len(value))
            return [*value[:at], self._changed(value[at]), *value[at + rng.randrange(2) :]]
        if rng.random() < 0.05:
            for _ in range(rng.choice((2, _DEEP))):
                value = [value] if rng.random() < 0.5 else {"k": value}
            return value
        return rng.choice((*_VALUES, self._word()))

    def _word(self) -> str:
        return self._rng.choice(self._words).decode("utf-8", "replace")
