"""What must not be read in a text, masked: tokens that are known, and what looks like one.

A leaf: the standard library only, because job processes load it too. Knows texts and nothing of
records, jobs or where a text goes. What it costs grows with the text and with nothing else.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeAlias
from urllib.parse import quote

MASK: Final = "***"
MIN_SECRET_CHARS: Final = 6
"""Masking something shorter would shred a text and hide nothing."""
MAX_SECRETS: Final = 64

Mask: TypeAlias = Callable[[str], str]

_NAMES = r"(?:token|secret|passw(?:or)?d|api[_-]?key|access[_-]?key|credentials?)"
# Every repetition is bounded, and each piece can begin in few places: no text takes long.
_LOOKS_SECRET: Final = re.compile(
    rf"""
      (?:(?<![\w-]) | (?<=%[0-9A-F]{{2}}))
      eyJ[\w-]{{5,4000}} \. [\w-]{{4,8000}} (?:\.[\w-]{{0,2000}})?
    | (?P<scheme> \bBearer (?:\s|%20|\+){{1,3}} ) [\w.~+/=-]{{8,8000}}
    | (?P<header> \bAuthorization ["']? \s{{0,3}} [:=] \s{{0,3}} ["']?
        (?:(?:Basic|Bearer|Digest|Token)\s)? )
      [\w.~+/=:-]{{4,8000}}
    | (?P<name> {_NAMES} (?: ["']? \s{{0,3}} : \s{{0,3}} ["'] | ["']?=["']? ) )
      (?! (?:None|True|False|null|\*\*\*)\b ) [^\s&;,"'<>(){{}}\[\]]{{2,8000}}
    | (?P<url> \b[a-z][a-z0-9+.-]{{1,15}}:// )
      [^\s/?\#"'<>@]{{1,1000}} (?:@[^\s/?\#"'<>@]{{1,200}}){{0,3}} (?=@)
    """,
    re.VERBOSE | re.IGNORECASE,
)
_SECRET_KEY: Final = re.compile(rf"{_NAMES}$|^authorization$", re.IGNORECASE)
_MAX_DEPTH: Final = 6
_MAX_ITEMS: Final = 100


def mask_known(text: str, secrets: Iterable[str]) -> str:
    """`text` with every one of `secrets` in it replaced, as it is or quoted for a URL."""
    for secret in secrets:
        if len(secret) >= MIN_SECRET_CHARS:
            text = text.replace(secret, MASK)
            if (quoted := quote(secret, safe="")) != secret:
                text = text.replace(quoted, MASK)
    return text


def mask_patterns(text: str) -> str:
    """`text` without what looks like a secret.

    That is: a JWT, what follows `Bearer` or `Authorization:`, the value of a `token=`, `secret=`
    or `password=` (also as `"token": "..."`), and the user and password in a URL.
    """
    lower = text.lower()
    # A text that could match has one of these in it; most have not, and cost a few quick looks.
    # Spelled out: as a loop they would be most of what a line of the log costs.
    if (
        ("eyj" in lower or "bearer" in lower or "authorization" in lower)
        or ("token" in lower or "secret" in lower or "passw" in lower)
        or ("key" in lower or "credential" in lower)
        or ("://" in text and "@" in text)
    ):
        return _LOOKS_SECRET.sub(_replacement, text)
    return text


def _replacement(match: re.Match[str]) -> str:
    kept = match.lastgroup and match.group(match.lastgroup)
    return f"{kept or ''}{MASK}"


class Masker:
    """Masks the secrets that it was told of, and what looks like one."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets: tuple[str, ...] = ()
        self.hide(secrets)

    def hide(self, secrets: Iterable[str]) -> None:
        """Mask these, too, from now on; of more than `MAX_SECRETS` the newest."""
        new = [s for s in secrets if len(s) >= MIN_SECRET_CHARS and s not in self._secrets]
        self._secrets = (*self._secrets, *dict.fromkeys(new))[-MAX_SECRETS:]

    def text(self, text: str) -> str:
        """`text`, masked."""
        return mask_patterns(mask_known(text, self._secrets))

    def value(self, value: Any) -> Any:
        """`value` as JSON has it, with every text in it masked, and what is stored as a secret.

        Deep or long values are cut. What has no form in JSON becomes a text.
        """
        return self._value(value, _MAX_DEPTH)

    def _value(self, value: Any, depth: int) -> Any:
        if value is None or isinstance(value, (bool, int)):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else str(value)  # JSON has no word for it
        if isinstance(value, str):
            return self.text(value)
        if depth and isinstance(value, dict):
            items = list(value.items())[:_MAX_ITEMS]
            return {str(k): self._item(str(k), v, depth - 1) for k, v in items}
        if depth and isinstance(value, (list, tuple, set, frozenset)):
            return [self._value(v, depth - 1) for v in list(value)[:_MAX_ITEMS]]
        return self.text(_text_of(value))

    def _item(self, key: str, value: Any, depth: int) -> Any:
        if value and isinstance(value, (str, bytes)) and _SECRET_KEY.search(key):
            return MASK
        return self._value(value, depth)


def _text_of(value: object) -> str:
    """`str(value)`; of foreign objects, whose `__str__` may raise."""
    try:
        return str(value)
    except Exception as error:
        return f"<{type(value).__name__}: its text raises {type(error).__name__}>"
