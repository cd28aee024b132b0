"""The worker's VideoSDK token, and the registry's clock, by which tokens are judged.

Order of sources: explicit, then `VIDEOSDK_AUTH_TOKEN` (unless the published package has put it
there), then a JWT signed with `VIDEOSDK_API_KEY` and `VIDEOSDK_SECRET_KEY`. A token or a key
appears in no repr, no error and no log. The environment is read, never written.

This machine's clock dates a token and the registry's clock judges it. `PeerClock` measures the
difference by the `Date` header of the registry's answers.
"""

from __future__ import annotations

import base64
import calendar
import hashlib
import hmac
import inspect
import json
import os
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

import attrs
import trio

from .._masking import hide
from ..errors import ConnectError, TokenError
from ..options.checks import QUOTED, is_quoted
from ..options.published import has_signed

NOTICEABLE_SECONDS: Final = 2.0
"""What two clocks may differ by without a word: `Date` has whole seconds, and travels."""

NoteDate: TypeAlias = Callable[[bytes], None]
"""Called with the `Date` header of each answer; b"" where it has none."""

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
        """Measure by the `Date` of an answer that has just come; a malformed one is ignored."""
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
    """A `NoteDate` for callers that do not compare clocks."""


TokenSource = str | Callable[[], str | Awaitable[str]]
"""A token, or a function (sync or async) that makes one."""

TOKEN_TTL_SECONDS = 24 * 3600.0
_BACKDATED_SECONDS = 60.0
"""A token is dated back by this, because a registry with a slower clock would refuse it."""
_MOST_AHEAD_SECONDS = 24 * 3600.0
"""A clock that differs by more is not worth following."""
_RENEW_AFTER = 0.8
_HOW = (
    "pass one as auth_token, or set VIDEOSDK_AUTH_TOKEN, "
    "or VIDEOSDK_API_KEY and VIDEOSDK_SECRET_KEY"
)


@attrs.frozen
class _Kept:
    token: str = attrs.field(repr=False)
    renew_at: float


@attrs.define(init=False)
class TokenProvider:
    """Hands out a usable token, and a fresh one when the old one is refused or too old.

    Args:
        source: A token, or a function (sync or async) that returns one; None reads `environ`.
        environ: The environment; None for that of this process.
        ttl_seconds: The life of a minted JWT, in seconds; it is renewed after 80 % of it.
        now: The wall clock, in seconds since 1970.
    """

    _source: TokenSource | None = attrs.field(repr=False)
    _environ: Mapping[str, str] = attrs.field(repr=False)
    _ttl_seconds: float
    _now: Callable[[], float] = attrs.field(repr=False)
    _ahead_seconds: float
    _minted: _Kept | None = attrs.field(repr=False)
    _lock: trio.Lock = attrs.field(repr=False)

    def __init__(
        self,
        source: TokenSource | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        ttl_seconds: float = TOKEN_TTL_SECONDS,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._source = (source.strip() if isinstance(source, str) else source) or None
        self._environ = os.environ if environ is None else environ
        self._ttl_seconds = ttl_seconds
        self._now = now
        self._ahead_seconds = 0.0
        self._minted = None
        self._lock = trio.Lock()

    def check(self) -> None:
        """Raise `TokenError` at once if no token can come out of this provider.

        Calls no callable: what that returns is checked when it is used.
        """
        if not callable(self._source):
            self._immediate(fresh=False)

    async def get(self, *, fresh: bool = False, ahead_seconds: float = 0.0) -> str:
        """Return a token. Cancelling it leaves the provider as it was.

        Args:
            fresh: not a minted one that was returned before, because that one was refused.
            ahead_seconds: how far the registry's clock is ahead of ours. A token
                that is minted from here on is one for that clock, where it differs by up to a day.

        Raises:
            TokenError: where there is none or it is malformed.
            ConnectError: where the callable raised an exception.
        """
        if fresh and abs(ahead_seconds) <= _MOST_AHEAD_SECONDS:
            self._ahead_seconds = ahead_seconds
        if not callable(self._source):
            await trio.lowlevel.checkpoint()
            return self._immediate(fresh=fresh)
        # The lock: a slow provider is asked once at a time, not by every task that waits for it.
        async with self._lock:
            try:
                made = self._source()
                token = await made if inspect.isawaitable(made) else made
            except TokenError:
                raise
            except Exception as error:
                # Foreign code; whatever it raises, this attempt to connect failed and no more.
                raise ConnectError(
                    f"the auth_token callable raised {type(error).__name__}"
                ) from error
        return check_token(token, origin="the auth_token callable's token")

    def _immediate(self, *, fresh: bool) -> str:
        if isinstance(self._source, str):
            return check_token(self._source, origin="auth_token")
        token = self._variable("VIDEOSDK_AUTH_TOKEN")
        if token and not has_signed(token):
            return check_token(token, origin="VIDEOSDK_AUTH_TOKEN")
        return self._mint(fresh=fresh)

    def _variable(self, name: str) -> str:
        return self._environ.get(name, "").strip()

    def _mint(self, *, fresh: bool) -> str:
        api_key = self._variable("VIDEOSDK_API_KEY")
        secret = self._variable("VIDEOSDK_SECRET_KEY")
        if not api_key or not secret:
            half = " (only one of the two keys is set)" if api_key or secret else ""
            raise TokenError(f"there is no VideoSDK token{half}: {_HOW}")
        hide(secret)
        for name in ("VIDEOSDK_API_KEY", "VIDEOSDK_SECRET_KEY"):
            if is_quoted(self._variable(name)):
                raise TokenError(f"{name} {QUOTED}")
        now = self._now()
        if self._minted is None or fresh or now >= self._minted.renew_at:
            self._minted = _Kept(
                mint_token(
                    api_key, secret, now=now + self._ahead_seconds, ttl_seconds=self._ttl_seconds
                ),
                now + _RENEW_AFTER * self._ttl_seconds,
            )
        return self._minted.token


def check_token(token: object, *, origin: str) -> str:
    """Return `token` if it can be one; raise `TokenError` that says what is wrong with it.

    Any printable ASCII without spaces will do: not every registry uses JWTs. It is masked from here
    on in every text of this process.
    """
    if not isinstance(token, str):
        raise TokenError(f"{origin} is not a string but {type(token).__name__}; {_HOW}")
    if token.lower().startswith("bearer "):
        raise TokenError(f"{origin} starts with 'Bearer '; give the raw token")
    if not token:
        raise TokenError(f"{origin} is empty; {_HOW}")
    if is_quoted(token):
        raise TokenError(f"{origin} {QUOTED}")
    if any(character.isspace() for character in token):
        raise TokenError(f"{origin} contains white space or a line break; give the raw token")
    if not (token.isascii() and token.isprintable()):
        raise TokenError(f"{origin} contains characters that no token has")
    hide(token)
    return token


def mint_token(
    api_key: str, secret: str, *, now: float, ttl_seconds: float = TOKEN_TTL_SECONDS
) -> str:
    """Sign a VideoSDK JWT (HS256) that is valid from a minute before `now`, for `ttl_seconds`."""
    claims = {
        "apikey": api_key,
        "permissions": ["allow_join"],
        "version": 2,
        "iat": int(now - _BACKDATED_SECONDS),
        "exp": int(now + ttl_seconds),
    }
    signed = b".".join((_part({"alg": "HS256", "typ": "JWT"}), _part(claims)))
    signature = hmac.new(secret.encode(), signed, hashlib.sha256).digest()
    return b".".join((signed, _base64url(signature))).decode()


def _part(value: Mapping[str, object]) -> bytes:
    return _base64url(json.dumps(value, separators=(",", ":")).encode())


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
