"""Exponential back-off: the one rule by which waits grow after failures in a row.

A leaf: pure arithmetic. Retries of the registry follow the length of an outage instead; see
`backend.retries`.
"""

from __future__ import annotations


def next_delay(previous: float, *, first: float, longest: float) -> float:
    """Return the seconds to wait after one more failure.

    Args:
        previous: The wait after the failure before, in seconds; 0 if this is the first in a row.
        first: The wait after the first failure, in seconds.
        longest: The upper bound of all waits, in seconds.
    """
    return min(max(2 * previous, first), longest)
