"""What the other side wrote, made fit for our errors and logs: short, on one line, no secrets.

A leaf of string work: must not know who wrote it, or where it is shown.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

# A shorter one is a word that anybody may use by chance, as in a test, and no secret.
_MIN_SECRET_CHARS: Final = 6


def printable(text: str) -> str:
    """Return `text` with blanks for what could break a line or drive a terminal."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else " " for character in text)


def peer_text(text: str, *, most: int, secrets: Iterable[str] = ()) -> str:
    """Return at most `most` printable characters of `text`; `secrets` in it become `<token>`."""
    for secret in secrets:
        if len(secret) >= _MIN_SECRET_CHARS:
            text = text.replace(secret, "<token>")
    return printable(text[:most]).strip()
