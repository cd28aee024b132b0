"""Runs the agent beside it in a worker of which one internal task is made to crash.

Arguments: what to crash, as `module:Class.method`. It crashes once the file `crash` exists.
"""

from __future__ import annotations

import functools
import importlib
import sys
from pathlib import Path
from typing import Any

import trio

TRIGGER = Path("crash")


def make_crash(target: str) -> None:
    module_name, _, path = target.partition(":")
    *owners, name = path.split(".")
    owner: Any = importlib.import_module(module_name)
    for part in owners:
        owner = getattr(owner, part)
    original = getattr(owner, name)

    @functools.wraps(original)
    async def crashing(*args: Any, **kwargs: Any) -> Any:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(crash_when_told)
            result = await original(*args, **kwargs)
            nursery.cancel_scope.cancel()
        return result

    setattr(owner, name, crashing)


async def crash_when_told() -> None:
    while not TRIGGER.exists():  # noqa: ASYNC110, ASYNC240  # the file system sets no events
        await trio.sleep(0.02)
    raise ZeroDivisionError("injected")


if __name__ == "__main__":
    make_crash(sys.argv[1])
    directory = Path(__file__).parent
    sys.path.insert(0, str(directory))
    import agent  # noqa: F401  # starts the worker
