"""What happens in a loopback room, and when: a script as data, from a job's metadata.

Knows the form of a script. Must not know how it is played.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from ..errors import RoomError

SCRIPT_KEY = "loopback"
"""The key of a job's metadata under which the loopback room looks for its script."""

_ACTIONS = ("join", "leave", "say", "speak", "echo", "mute", "error", "cut", "end")
_HIGHEST_HZ = 20_000


@attrs.frozen(kw_only=True)
class Step:
    """One event: `after` seconds of waiting, then what a participant does or the room suffers.

    `do` is `join` or `leave` (of `participant`), `say` (`text` on `topic`, by `participant`),
    `speak` (`participant` sounds a tone of `tone` Hz for `seconds`, while the script goes on),
    `echo` (from now on `participant` says what the agent says), `mute` (it stops doing both),
    `error` (`text` to `on_room_error`), `cut` (the room is lost, with `text` as the cause), or
    `end` (of the session, with `text` as the reason).
    """

    do: str
    after: float = 0.0
    participant: str = "guest"
    name: str = "Guest"
    topic: str = "chat"
    text: str = ""
    tone: float = 440.0
    seconds: float = 1.0


DEFAULT_SCRIPT = (Step(do="join"),)
"""One guest, who joins at once and stays."""


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_seconds(value: Any) -> bool:
    return _is_number(value) and bool(value >= 0)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


_CHECKS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "do": (f"one of {', '.join(_ACTIONS)}", lambda value: value in _ACTIONS),
    "after": ("a number of seconds", _is_seconds),
    "participant": ("a string", _is_text),
    "name": ("a string", _is_text),
    "topic": ("a string", _is_text),
    "text": ("a string", _is_text),
    "tone": ("a frequency in Hz", lambda value: _is_number(value) and 0 < value <= _HIGHEST_HZ),
    "seconds": ("a number of seconds", _is_seconds),
}


def read_script(metadata: Mapping[str, Any]) -> tuple[Step, ...]:
    """The script in `metadata["loopback"]`, a list of objects; the default one if there is none.

    Raises `RoomError` with the number of the step that is wrong, and why.
    """
    steps = metadata.get(SCRIPT_KEY)
    if steps is None:
        return DEFAULT_SCRIPT
    if not isinstance(steps, list):
        raise RoomError(f"the loopback script must be a list, got {type(steps).__name__}")
    return tuple(_read_step(number, step) for number, step in enumerate(steps))


def _read_step(number: int, step: Any) -> Step:
    where = f"step {number} of the loopback script"
    if not isinstance(step, dict) or "do" not in step:
        raise RoomError(f"{where} must be an object with a 'do'")
    for key, value in step.items():
        if key not in _CHECKS:
            raise RoomError(f"{where} has an unknown key {key!r}; known: {', '.join(_CHECKS)}")
        wanted, is_right = _CHECKS[key]
        if not is_right(value):
            raise RoomError(f"{where}: {key} must be {wanted}, got {value!r}")
    return Step(**step)
