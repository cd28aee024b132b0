"""The one masker: whatever text leaves the process has passed it, and is cut only afterwards.

Known secrets are those of the whole process: `hide` them where they are read. Besides, what looks
like a secret is masked. A leaf: the standard library only, because job processes load it too.
Knows texts and nothing of records, jobs or where a text goes. What it costs grows with the text,
and with how many secrets are known.
"""

from __future__ import annotations

import binascii
import json
import math
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import takewhile
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

MASK: Final = "***"
MIN_SECRET_CHARS: Final = 6
"""Masking something shorter would shred a text and hide nothing."""
MAX_SECRETS: Final = 256
"""How many lasting secrets are kept, the newest."""
MAX_PASSING: Final = 128
"""How many of those that come and go, such as the tokens of jobs."""
MAX_SECRET_CHARS: Final = 8000
MAX_WHOLE_CHARS: Final = 96 << 10
"""A longer text is masked in part; what is too near to where it was cut is not shown."""

_MARGIN_CHARS: Final = 2 * MAX_SECRET_CHARS
_MAX_DEPTH: Final = 6
_MAX_ITEMS: Final = 100

# Patterns. Every repetition is bounded, and each piece can begin in few places: no text takes long.

_NAMES = (
    r"(?:token|secret[_-]?(?:access[_-]?)?key|secret|passw(?:or)?d|passphrase|credentials?"
    r"|(?:api|access|subscription|private|account|signing|master|shared)[_-]?key(?:[_-]?id)?)"
)
_PERCENT = r"%(?:25)?"
# In a URL, and in what is quoted for one: up to the next parameter.
_VALUE = r"""(?:[^\s&;,"'<>(){}\[\]\\%] | %(?!(?:25)?2[26]))"""
_QUOTE = r"""\\{0,4}["']"""
# What a line of a traceback has in such a place is a name, or a call, and says nothing.
_CODE = (
    r"(?! (?-i: [a-z_.]{0,60} (?<![a-z])(?:token|secret|password|key|credentials?)[,)}] )"
    r"| [\w.]{1,60}\( )"
)
_NO_WORD = (
    r"(?! (?:None|True|False|null|undefined|missing|invalid|required|expired|empty|not|is|was"
    r"|must|the|a|\*\*\*|\.\.\.)(?![\w-]) )"
)
_BEGINS = r"(?: (?<![A-Za-z0-9]) | (?<=%[0-9A-Fa-f]{2}) | (?<=\\[nrt]) )"
_LOOKS_SECRET: Final = re.compile(
    rf"""
      eyJ[\w-]{{16,8000}} (?: (?:\.|{_PERCENT}2E) [\w-]{{0,8000}} ){{0,4}}
    | (?-i: ZXlK[\w+/-]{{20,8000}} )
    | -----BEGIN\s[A-Z ]{{0,30}}PRIVATE\sKEY-----
      [^-]{{0,8000}} (?:-----END\s[A-Z ]{{0,30}}PRIVATE\sKEY-----)?
    | {_BEGINS} (?-i:
        sk[-_] (?=[\w-]{{0,80}}\d) [\w-]{{12,400}}
      | (?:gsk_|xai-|hf_|r8_|csk-|pplx-) (?=[a-z]{{0,80}}[0-9A-Z]) [\w-]{{10,400}}
      | AIza[\w-]{{20,100}} | (?:AKIA|ASIA)[A-Z0-9]{{12,32}} | ya29\.[\w-]{{16,4000}}
      | (?:gh[pousr]_|github_pat_|glpat-|nvapi-|xox[abeprs]-) (?=[\w-]{{0,80}}\d) [\w-]{{10,400}}
      )
    | (?P<bearer> Bearer (?:\s|%20|\+){{1,3}} )
      (?! (?:token|auth\w{{0,20}}|scheme|realm)\b ) [\w.~+/=-]{{8,8000}}
    | (?P<basic> \bBasic (?:\s|%20|\+){{1,3}} ) [\w+/-]{{8,8000}}={{0,2}}
    | (?P<scheme> \bToken (?:\s|%20|\+){{1,2}} ) (?=[\w-]{{0,100}}\d) [\w-]{{20,8000}}
    | (?P<header> Authorization (?: {_QUOTE}\s{{0,3}},\s{{0,3}}b?{_QUOTE}
        | (?:{_QUOTE})? \s{{0,3}} [:=] \s{{0,3}} (?:b?{_QUOTE})? )
        (?:(?:Basic|Bearer|Digest|Token)\s)?+ )
      {_CODE} [\w.~+/=:-]{{4,8000}}
    | (?P<quoted> {_NAMES} (?: (?:{_QUOTE})? \s{{0,3}}[:=]\s{{0,3}} b?{_QUOTE}
        | {_QUOTE}\s{{0,3}},\s{{0,3}}b?{_QUOTE} ) )
      {_NO_WORD} [^"'\n\\]{{1,8000}}
    | (?P<name> {_NAMES} = ) {_CODE} {_NO_WORD} {_VALUE}{{2,8000}}
    | (?P<percent> {_NAMES} (?:{_PERCENT}22)? {_PERCENT}3[AD] (?:{_PERCENT}2[02]){{0,3}} )
      {_VALUE}{{2,8000}}
    | (?P<line> (?:api|auth|access|subscription|security|session)-(?:key|token)
        :\s{{0,3}} ) {_NO_WORD} {_VALUE}{{2,8000}}
    | (?P<said> {_NAMES} \s{{0,3}}[:=]\s{{0,3}} )
      (?= [\w.~+/=$!^-]{{0,200}}\d ) [\w.~+/=$!^-]{{8,8000}}+ (?![(\[])
    | (?P<parameter> (?:[?&]|{_PERCENT}(?:3F|26)) (?:(?:X-(?:Amz|Goog)-)?signature|sig|key)
        (?:=|{_PERCENT}3D) ) {_VALUE}{{2,8000}}
    | (?P<url> :// )
      [^\s/?\#"'<>@]{{1,1000}} (?:@[^\s/?\#"'<>@]{{1,200}}){{0,3}} (?=@)
    | (?P<quoted_url> {_PERCENT}3A{_PERCENT}2F{_PERCENT}2F )
      (?:[^\s/?\#"'<>@&%]|%(?!(?:25)?(?:40|2F))){{1,1000}} (?={_PERCENT}40)
    """,
    re.VERBOSE | re.IGNORECASE,
)
_JWT: Final = re.compile(r"eyJ[\w-]{16,4000}\.[\w-]{1,4000}\.[\w-]{0,4000}")
_SECRET_KEY: Final = re.compile(rf"{_NAMES}$|^authorization$", re.IGNORECASE)
_SECRET_VARIABLE: Final = re.compile(
    r"(?:^|_)(?:API_?KEY|KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|PASS|CREDENTIALS?)$",
    re.IGNORECASE,
)
_URL_VARIABLE: Final = re.compile(r"(?:^|_)(?:PROXY|URL|DSN)$", re.IGNORECASE)
_PLAIN_WORD: Final = re.compile(r"[a-z]{1,11}|\d{1,7}|[/.~].*|\w+(?: \w+)+")
"""What a variable may hold that is no secret, or too common to be taken out of every text."""


def mask_patterns(text: str) -> str:
    """`text` without what looks like a secret, whether it is known or not.

    That is: a JWT, a private key, the keys of well-known providers, what follows `Bearer` or
    `Authorization:`, the value of `token=`, `x-api-key:` or `"password": "..."`, the user and
    password in a URL; each also as URLs, JSON and `repr` quote it.
    """
    lower = text.lower()
    # A text that could match has one of these in it; most have not, and cost a few quick looks.
    # Spelled out: as a loop they would be most of what a line of the log costs.
    if (
        ("eyj" in lower or "bearer" in lower or "authorization" in lower or "basic" in lower)
        or ("token" in lower or "secret" in lower or "passw" in lower or "passphrase" in lower)
        or ("key" in lower or "credential" in lower or "sig" in lower)
        or ("sk-" in lower or "sk_" in lower or "xai-" in lower or "hf_" in lower)
        or ("aiza" in lower or "akia" in lower or "asia" in lower or "ya29" in lower)
        or ("r8_" in lower or "csk-" in lower or "pplx-" in lower or "xox" in lower)
        or ("_" in text and ("ghp_" in text or "gho_" in text or "ghs_" in text or "ghu_" in text))
        or ("github_pat_" in text or "glpat-" in text or "nvapi-" in text or "ZXlK" in text)
        or ("://" in text and "@" in text)
        or ("%2f" in lower and "40" in lower)
    ):
        return _LOOKS_SECRET.sub(_replacement, text)
    return text


def _replacement(match: re.Match[str]) -> str:
    group = match.lastgroup
    if group == "basic" and not _is_login(match.group()[match.end(group) - match.start() :]):
        return match.group()
    return f"{match.group(group) if group else ''}{MASK}"


def _is_login(text: str) -> bool:
    """Whether it is `user:password` in base64, as after `Basic`."""
    try:
        return b":" in binascii.a2b_base64(text + "==")
    except binascii.Error:
        return False


def _forms(secret: str) -> Iterable[str]:
    """How a secret may be written: as it is, quoted for URLs, JSON and Python, in base64."""
    quoted = quote(secret, safe="", errors="surrogatepass")
    twice = quote(quoted, safe="")
    yield from (secret, quoted, twice)
    yield re.sub("%[0-9A-F]{2}", lambda match: match.group().lower(), quoted)
    yield json.dumps(secret)[1:-1]
    yield repr(secret)[1:-1]
    data = secret.encode("utf-8", "surrogatepass")
    for shift in range(3):  # where it begins in what was encoded
        padded = bytes(shift) + data
        whole = len(padded) - len(padded) % 3  # what follows decides on the rest
        for part in (padded, padded[:whole]):
            encoded = binascii.b2a_base64(part, newline=False).decode().rstrip("=")
            encoded = encoded[(0, 2, 3)[shift] :]
            if len(encoded) >= 8:
                yield encoded
                yield encoded.translate({43: 45, 47: 95})  # as URLs have it


def _needle(form: str) -> tuple[str, str]:
    """What to look for, and what may follow of it: half a secret is hidden, too."""
    length = len(form)
    return (form if length < 16 else form[: max(12, min(16, 2 * length // 3))]), form


class Masker:
    """Masks the secrets that it knows, and what looks like one. From any thread.

    A process has one, `MASKER`, whose methods are this module's functions.
    """

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._lasting: dict[str, list[tuple[str, str]]] = {}
        self._passing: dict[str, list[tuple[str, str]]] = {}
        self._needles: tuple[tuple[str, str], ...] = ()

    def hide(self, *secrets: object) -> None:
        """Mask these from now on, wherever they appear; short values and other types are not."""
        self._keep(self._lasting, MAX_SECRETS, secrets)

    def hide_passing(self, *secrets: object) -> None:
        """The same for what comes and goes, such as a job's token: of these the newest are kept.

        A JWT is masked by how it looks, and costs nothing here, on the way to a job's first line.
        """
        opaque = (s for s in secrets if not (isinstance(s, str) and _JWT.fullmatch(s)))
        self._keep(self._passing, MAX_PASSING, tuple(opaque))

    def hide_environment(self, environ: Mapping[str, str]) -> None:
        """Hide what variables such as `X_API_KEY`, `X_SECRET` and `X_TOKEN` hold."""
        for name, value in environ.items():
            if _SECRET_VARIABLE.search(name):
                if not _PLAIN_WORD.fullmatch(value):
                    self.hide(value)
            elif "@" in value and _URL_VARIABLE.search(name):
                self.hide_url(value)

    def hide_url(self, url: str | None) -> None:
        """Hide the password in a URL, as of a proxy, also as it travels in a header."""
        if not url or "@" not in url:
            return
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            user, password = unquote(parts.username or ""), unquote(parts.password or "")
        except ValueError:
            return
        self.hide_login(user, password)

    def hide_login(self, user: str, password: str) -> None:
        """Hide a password, and what a header makes of it and its user."""
        if password:
            self.hide(password, f"{user}:{password}")

    def _keep(
        self, kept: dict[str, list[tuple[str, str]]], most: int, secrets: tuple[object, ...]
    ) -> None:
        for secret in secrets:
            if not isinstance(secret, str) or len(secret) < MIN_SECRET_CHARS or secret in kept:
                continue
            with self._mutex:
                if secret not in kept:
                    kept[secret] = self._needles_of(secret[:MAX_SECRET_CHARS])
                while len(kept) > most:
                    del kept[next(iter(kept))]
                needles = [
                    needle
                    for group in (self._lasting, self._passing)
                    for of_one in group.values()
                    for needle in of_one
                ]
                # The longest first: one secret may be a part of another.
                needles.sort(key=lambda needle: -len(needle[1]))
                self._needles = tuple(dict.fromkeys(needles))

    def _needles_of(self, secret: str) -> list[tuple[str, str]]:
        parts = [secret, *(line for line in secret.split("\n")[1:-1] if len(line) >= 20)]
        return [_needle(form) for part in parts for form in dict.fromkeys(_forms(part))]

    @contextmanager
    def for_a_while(self) -> Iterator[None]:
        """Around the body of a test: what is hidden in it is forgotten afterwards."""
        lasting, passing, needles = dict(self._lasting), dict(self._passing), self._needles
        try:
            yield
        finally:
            with self._mutex:
                self._lasting, self._passing, self._needles = lasting, passing, needles

    def text(self, text: str) -> str:
        """`text`, masked."""
        if found := [needle for needle in self._needles if needle[0] in text]:
            text = _without(text, found)
        return mask_patterns(text)

    def cut(self, text: str, most: int, *, keep_end: bool = False) -> str:
        """`text`, masked, and then cut to `most` characters, `…` included.

        Arguments: `keep_end`, its end is what is kept, as of a traceback.
        """
        if len(text) > MAX_WHOLE_CHARS:
            # A secret that straddles this cut cannot be seen whole, so nothing near it is shown.
            if keep_end:
                text = "…" + self.text(text[-MAX_WHOLE_CHARS:])[_MARGIN_CHARS:]
            else:
                text = self.text(text[:MAX_WHOLE_CHARS])[:-_MARGIN_CHARS] + "…"
        else:
            text = self.text(text)
        if len(text) <= most:
            return text
        return "…" + text[1 - most :] if keep_end else text[: most - 1] + "…"

    def peer_text(self, text: str, *, most: int) -> str:
        """What the other side wrote, made fit for our errors: masked, cut, on one line."""
        text = self.text(text) if len(text) <= MAX_WHOLE_CHARS else self.cut(text, MAX_WHOLE_CHARS)
        return printable(text[:most]).strip()

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
            return {self.text(str(k)): self._item(str(k), v, depth - 1) for k, v in items}
        if depth and isinstance(value, (list, tuple, set, frozenset)):
            return [self._value(v, depth - 1) for v in list(value)[:_MAX_ITEMS]]
        return self.text(_text_of(value))

    def _item(self, key: str, value: Any, depth: int) -> Any:
        if value and isinstance(value, (str, bytes)) and _SECRET_KEY.search(key):
            return MASK
        return self._value(value, depth)

    def answer(self, value: Any) -> Any:
        """`value` with every text in it masked, uncut, to be sent as JSON."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {
                key: MASK
                if item and isinstance(item, str) and _SECRET_KEY.search(str(key))
                else self.answer(item)
                for key, item in value.items()
            }
        if isinstance(value, (list, tuple)):
            return [self.answer(item) for item in value]
        return value


MASKER: Final = Masker()
"""The process's own."""
hide: Final = MASKER.hide
hide_passing: Final = MASKER.hide_passing
hide_environment: Final = MASKER.hide_environment
hide_url: Final = MASKER.hide_url
hide_login: Final = MASKER.hide_login
mask: Final = MASKER.text
mask_value: Final = MASKER.value
mask_answer: Final = MASKER.answer
cut: Final = MASKER.cut
peer_text: Final = MASKER.peer_text


def printable(text: str) -> str:
    """Return `text` with blanks for what could break a line or drive a terminal."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else " " for character in text)


def _without(text: str, found: list[tuple[str, str]]) -> str:
    """`text` with a mask for every secret in it, and for what begins as one does."""
    for _, secret in found:
        text = text.replace(secret, MASK)
    for head, _ in found:
        begin = text.find(head)
        while begin >= 0:
            shared = max(_shared(text, begin, secret) for _, secret in found)
            text = f"{text[:begin]}{MASK}{text[begin + shared :]}"
            begin = text.find(head, begin + len(MASK))
    return text


def _shared(text: str, begin: int, secret: str) -> int:
    """How many characters of `text` from `begin` on are those of `secret`."""
    pairs = zip(text[begin : begin + len(secret)], secret, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _text_of(value: object) -> str:
    """`str(value)`; of foreign objects, whose `__str__` may raise."""
    try:
        return str(value)
    except Exception as error:
        return f"<{type(value).__name__}: its text raises {type(error).__name__}>"
