"""Shows something again and again: in place on a terminal, one below the other elsewhere.

Knows terminals and time; not what is shown.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import attrs
import trio
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from ._client import AwayError
from ._output import console, json_of

LEAST_SECONDS: Final = 0.5
"""Twice a second is as often as anybody can read."""


@attrs.frozen
class Picture:
    """What is to be seen at one moment: for a person, and for a program."""

    shown: RenderableType
    data: dict[str, Any]


Look = Callable[[], Awaitable[Picture]]


async def watch(look: Look, *, every: float, as_json: bool, once: bool = False) -> None:
    """Show what `look` sees until cancelled, or `once`; at most every `LEAST_SECONDS`.

    As JSON it is one line for each look. Somebody who is away at first is an error
    (`AwayError`); one who goes away later is waited for.
    """
    first = await look()
    if as_json:
        print(json_of(first.data, indent=2 if once else None), flush=True)
    elif once:
        console().print(first.shown)
    if once:
        return
    every = max(every, LEAST_SECONDS)
    screen = console()
    if as_json:
        await _repeat(look, every, lambda picture: print(json_of(picture.data), flush=True))
    elif screen.is_terminal:
        await _in_place(screen, look, first, every)
    else:
        screen.print(first.shown)

        def append(picture: Picture) -> None:
            screen.print()
            screen.print(picture.shown)

        await _repeat(look, every, append)


async def _in_place(screen: Console, look: Look, first: Picture, every: float) -> None:
    # Drawn from here and not from a thread of rich's, which would draw while we write.
    with Live(first.shown, console=screen, auto_refresh=False, screen=True) as live:
        live.refresh()
        await _repeat(look, every, lambda picture: live.update(picture.shown, refresh=True))


async def _repeat(look: Look, every: float, show: Callable[[Picture], None]) -> None:
    last: Picture | None = None
    while True:
        await trio.sleep(every)
        try:
            last = await look()
            show(last)
        except AwayError as error:
            gone = Text(f"{error}; trying again", style="red")
            before = () if last is None else (last.shown,)
            show(Picture(Group(gone, *before), {"error": str(error)}))
