"""What a fuzz target is, and what every one of them holds the program to.

A target takes bytes and drives one part of the program with them; what comes out of it is a
finding. Knows neither where inputs come from nor what is done about findings.
"""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import trio
import trio.testing
from hypothesis import strategies as st

from vsdk_trio._masking import hide

TOKEN = "Tok_5f1E9c0D7a_Secret"
hide(TOKEN)  # as it is where a token is read
"""The secret of every target: inputs may contain it, errors must not. No URL scheme has a `_`."""

MAX_ERROR_CHARS = 4096
VIRTUAL_SECONDS = 3600.0
_MOST_CHUNKS = 100


class BrokenPromise(AssertionError):
    """The program did with an input what it must not do."""


@attrs.frozen(kw_only=True)
class Target:
    """One part of the program that takes what others made.

    `run` raises for a finding. `seeds` are inputs to start from, `words` what mutations put in,
    `built` makes inputs that are right in form; `share` is the weight in a long run, `quick` the
    number of random inputs in the test suite.
    """

    name: str
    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...] = ()
    built: st.SearchStrategy[bytes] = attrs.field(factory=st.binary)
    share: int = 10
    quick: int = 2000


def expect(condition: object, text: str) -> None:
    """Raise `BrokenPromise` unless it holds."""
    if not condition:
        raise BrokenPromise(text)


@contextmanager
def only(
    *errors: type[BaseException],
    is_told: Callable[[], bool] = lambda: False,
    most: int = MAX_ERROR_CHARS,
) -> Generator[None]:
    """Let these errors, the documented ones, pass as long as they are short and tell no secret.

    `most` is how many characters one may have; `is_told` says whether the token stood where an
    error may quote it, such as the name of a field.
    """
    try:
        yield
    except errors as error:
        for shown in texts_of(error):
            expect(len(shown) <= most, f"an error of {len(shown)} characters")
            if TOKEN in shown and not is_told():
                raise BrokenPromise(f"the token in a {type(error).__name__}: {shown}") from None


def texts_of(error: BaseException) -> Iterator[str]:
    """What a traceback would show of an error and of what led to it."""
    todo, seen = [error], set()
    while todo:
        error = todo.pop()
        if id(error) in seen:  # a group and what it holds may be each other's context
            continue
        seen.add(id(error))
        yield str(error)
        yield from getattr(error, "__notes__", ())
        if isinstance(error, BaseExceptionGroup):
            todo += error.exceptions
        if error.__cause__ is not None:
            todo.append(error.__cause__)
        elif error.__context__ is not None and not error.__suppress_context__:
            todo.append(error.__context__)


def token_is_a_name(data: bytes) -> bool:
    """Whether the token stands, in a line of JSON, as a key or as a type: names may be quoted."""
    return any(_has_name(value) for value in map(_parsed, data.split(b"\n")))


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _has_name(value: Any) -> bool:
    if isinstance(value, dict):
        named = any(TOKEN in key or (key == "type" and TOKEN in str(value[key])) for key in value)
        return named or any(map(_has_name, value.values()))
    return isinstance(value, list) and any(map(_has_name, value))


def simulate(main: Callable[[], Awaitable[None]]) -> None:
    """Run `main` on a clock that jumps: an hour of waiting for what never comes is a finding."""

    async def bounded() -> None:
        with trio.move_on_after(VIRTUAL_SECONDS) as limit:
            await main()
        expect(not limit.cancelled_caught, "it hangs")

    trio.run(bounded, clock=trio.testing.MockClock(autojump_threshold=0))


def chunks(data: bytes) -> Iterator[bytes]:
    """Cut `data` into pieces of every size, always the same ones for the same data."""
    rng = random.Random(zlib.crc32(data))
    sizes = rng.choice(((1, 2, 3), (1, 5, 50), (64, 1000), (1 << 16,)))
    start = 0
    at_least = len(data) // _MOST_CHUNKS
    while start < len(data):
        end = start + at_least + rng.choice(sizes)
        yield data[start:end]
        start = end


async def send_chunks(stream: trio.abc.SendStream, data: bytes) -> None:
    """Send `data` piece by piece, as long as somebody takes it."""
    try:
        for chunk in chunks(data):
            await stream.send_all(chunk)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass


_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**65), 2**65)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12)
    | st.sampled_from([TOKEN, "", "x" * 300])
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)


def json_lines(
    types: tuple[str, ...], names: tuple[str, ...], most: int = 1
) -> st.SearchStrategy[bytes]:
    """Lines of JSON objects with these fields, of any value; with a type of these, if any."""
    fields = st.dictionaries(st.sampled_from(names), _VALUES, max_size=6)
    objects = fields
    if types:
        typed = st.sampled_from(types)
        objects = st.tuples(typed, fields).map(lambda pair: {**pair[1], "type": pair[0]})
    line = objects.map(lambda value: json.dumps(value).encode())
    return st.lists(line, min_size=1, max_size=most).map(b"\n".join)
