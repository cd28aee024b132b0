"""The registry's clock, as far as the `Date` of its answers tells it.

Tokens are made by the clock of this machine and judged by the registry's. Must not know tokens.
"""

from __future__ import annotations

import calendar
import re
import time
from collections.abc import Callable
from typing import Final, TypeAlias

import attrs

NOTICEABLE_SECONDS: Final = 2.0
"""What two clocks may differ by without a word: `Date` has whole seconds, and travels."""

NoteDate: TypeAlias = Callable[[bytes], None]
"""Is given the `Date` header of each answer; empty where it has none."""

_MONTHS: Final = b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
_DATE: Final = re.compile(rb"\w{3}, (\d\d) (\w{3}) (\d{4}) (\d\d):(\d\d):(\d\d) GMT")


@attrs.define
class PeerClock:
    """How far the registry's clock is ahead of this machine's, by its last answer with a `Date`.

    Args:
        now: this machine's clock, in seconds since 1970.
    """

    now: Callable[[], float] = time.time
    ahead_seconds: float = attrs.field(default=0.0, init=False)
    """Negative: it is behind."""
    is_known: bool = attrs.field(default=False, init=False)

    def note(self, date: bytes) -> None:
        """Look at the `Date` of an answer that has just come; one that is none changes nothing."""
        if (moment := parse_date(date)) is not None:
            # In the middle of the second that it names.
            self.ahead_seconds = moment + 0.5 - self.now()
            self.is_known = True

    @property
    def is_off(self) -> bool:
        """Whether the two differ by more than measuring explains."""
        return abs(self.ahead_seconds) > NOTICEABLE_SECONDS

    def __str__(self) -> str:
        where = "ahead of" if self.ahead_seconds > 0 else "behind"
        return f"its clock is {abs(self.ahead_seconds):.0f} s {where} this machine's"


def parse_date(date: bytes) -> int | None:
    """The moment of a `Date` header, in seconds since 1970; None where it is none of HTTP."""
    if (found := _DATE.fullmatch(date.strip())) is None or found[2] not in _MONTHS:
        return None
    day, year, hour, minute, second = (int(found[n]) for n in (1, 3, 4, 5, 6))
    if not (year and 1 <= day <= 31 and hour < 24 and minute < 60 and second <= 60):
        return None
    return calendar.timegm((year, _MONTHS.index(found[2]) + 1, day, hour, minute, second))


def unnoted(date: bytes) -> None:
    """A `NoteDate` for callers to whom clocks do not matter."""
