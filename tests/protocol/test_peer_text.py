"""What a peer wrote, before it is shown."""

from __future__ import annotations

import pytest

from vsdk_trio.protocol.peer_text import peer_text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("all is well", "all is well"),
        ("a\nb\x1b[2J", "a b [2J"),
        (" the token is s3cret! ", "the token is <token>!"),
        ("x" * 99, "x" * 30),
        ("x" * 29 + "s3cret", "x" * 29 + "<"),
        ("", ""),
    ],
)
def test_peer_text(text: str, shown: str) -> None:
    assert peer_text(text, most=30, secrets=("", "a", "s3cret")) == shown
