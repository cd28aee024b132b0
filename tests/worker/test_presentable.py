"""What may be said in an error."""

from __future__ import annotations

import pytest

from vsdk_trio._masking import hide
from vsdk_trio.worker.live_job import MAX_TEXT_CHARACTERS, presentable


@pytest.mark.parametrize(
    ("text", "presented"),
    [
        (None, None),
        ("", ""),
        ("why", "why"),
        ("half a pair: \ud800", "half a pair: \\ud800"),
        ("the token s3cr3t-s3cr3t is no good", "the token *** is no good"),
        ("x", "x"),  # too short to be a secret
        ("é" * 3000, "é" * (MAX_TEXT_CHARACTERS - 1) + "…"),
    ],
)
def test_what_is_presentable(text: str | None, presented: str | None) -> None:
    hide("s3cr3t-s3cr3t", "x", "")
    assert presentable(text) == presented
    assert presentable(presented) == presented
