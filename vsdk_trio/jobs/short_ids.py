"""Ids as people see and type them: shortened, and found again by their beginning.

A leaf, the one place for both: what is shown short is accepted short. Knows texts only.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Final

SHORT: Final = 8
"""Characters of an id that is shown short, where that many tell it from the others."""
LEAST: Final = 4
"""Fewer characters than that name nothing: they are a typing error."""
MOST_NAMED: Final = 10


def shorten(ids: Iterable[str]) -> dict[str, str]:
    """Each id, and its shortest beginning, of `SHORT` characters or more, that no other has."""
    known = sorted(set(ids))
    shared = [_common(one, other) for one, other in itertools.pairwise(known)]
    around = zip(known, [0, *shared], [*shared, 0], strict=False)
    return {text: text[: max(SHORT, 1 + max(before, after))] for text, before, after in around}


def find_ids(typed: str, ids: Iterable[str]) -> list[str]:
    """The ids that `typed` may mean: the one that it is, else all that begin with it."""
    known = list(ids)
    if typed in known:
        return [typed]
    beginning = typed.removesuffix("…").removesuffix("...")
    if len(beginning) < LEAST:
        return []
    return [text for text in known if text.startswith(beginning)]


def name_candidates(typed: str, ids: Sequence[str]) -> str:
    """The error where `typed` may mean several ids: one line that lists them."""
    named = ", ".join(itertools.islice(ids, MOST_NAMED))
    more = f" and {len(ids) - MOST_NAMED} more" if len(ids) > MOST_NAMED else ""
    return f"{typed!r} may mean {len(ids)}: {named}{more}; write more of the id"


def _common(one: str, other: str) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(one), len(other)))
