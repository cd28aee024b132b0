"""The doctor's look at the token: where it comes from, and what it claims. Never shows it.

Knows JWTs as far as their claims are open to everybody; no keys, and no network.
"""

from __future__ import annotations

import base64
import json
import math
import os
import time
from collections.abc import Mapping
from typing import Any, Final

import attrs

from ..backend.token import TokenProvider
from ..errors import ConnectError, TokenError
from ..options.worker import Options
from ._finding import Finding, Verdict

_SOON_SECONDS: Final = 3600.0
# Two clocks may differ by so much, and nobody minds.
_CLOCK_SECONDS: Final = 60.0
_NEW_ONE: Final = (
    "make a new one; or set VIDEOSDK_API_KEY and VIDEOSDK_SECRET_KEY, and the worker makes its own"
)


@attrs.define
class HeldToken:
    """The token that a worker would have: where it is refused, once another one."""

    provider: TokenProvider = attrs.field(repr=False)
    value: str = attrs.field(repr=False)
    is_second: bool = False

    async def try_another(self, *, ahead_seconds: float) -> bool:
        """Whether there is another one to be tried; `ahead_seconds` as `TokenProvider.get`."""
        if self.is_second:
            return False
        self.is_second = True
        refused = self.value
        try:
            self.value = await self.provider.get(fresh=True, ahead_seconds=ahead_seconds)
        except (TokenError, ConnectError):
            return False
        return self.value != refused


async def examine_token(options: Options) -> tuple[Finding, HeldToken | None]:
    """What is to be said of the token, and the token, where there is one."""
    provider = TokenProvider(options.auth_token)
    try:
        token = await provider.get()
    except (TokenError, ConnectError) as error:
        return Finding("token", Verdict.FAILED, str(error), "give one, as it says"), None
    origin = f"from {_origin(options, os.environ)}"
    claims = read_claims(token)
    if claims is None:
        text = f"{origin}; no JWT, so what it claims cannot be seen"
        return Finding("token", Verdict.OK, text), HeldToken(provider, token)
    return _of_claims(origin, claims, now=time.time()), HeldToken(provider, token)


def read_claims(token: str) -> dict[str, Any] | None:
    """What a JWT says of itself; None where the token is none. Its signature is not looked at."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        padded = parts[1] + "=" * (-len(parts[1]) % 4)
        claims = json.loads(base64.urlsafe_b64decode(padded))
    except (ValueError, RecursionError):
        return None
    return claims if isinstance(claims, dict) else None


def _origin(options: Options, environ: Mapping[str, str]) -> str:
    if callable(options.auth_token):
        return "the agent's auth_token function"
    if options.auth_token:
        variable = "VSDK_TRIO_AUTH_TOKEN"
        return variable if environ.get(variable) == options.auth_token else "Options(auth_token=)"
    if environ.get("VIDEOSDK_AUTH_TOKEN"):
        return "VIDEOSDK_AUTH_TOKEN"
    return "VIDEOSDK_API_KEY and VIDEOSDK_SECRET_KEY, made just now"


def _of_claims(origin: str, claims: Mapping[str, Any], *, now: float) -> Finding:
    told = [origin]
    permissions = claims.get("permissions")
    if isinstance(permissions, list):
        told.append(f"permissions {', '.join(map(str, permissions)) or 'none'}")
    expires, issued = _moment(claims, "exp"), _moment(claims, "iat")
    begins = _moment(claims, "nbf")
    if expires is None:
        told.append("never expires")
    elif expires <= now:
        told.append(f"expired {in_words(now - expires)} ago ({_date(expires)})")
        return Finding("token", Verdict.FAILED, "; ".join(told), _NEW_ONE)
    else:
        told.append(f"expires in {in_words(expires - now)} ({_date(expires)})")
    text = "; ".join(told)
    first = max(begins or -math.inf, issued or -math.inf)
    if first > now + _CLOCK_SECONDS:
        text += f"; begins in {in_words(first - now)}"
        return Finding("token", Verdict.WARNING, text, "is the clock of this machine right?")
    if expires is not None and expires - now < _SOON_SECONDS:
        return Finding("token", Verdict.WARNING, text, _NEW_ONE)
    return Finding("token", Verdict.OK, text)


def _moment(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    # What no calendar has is no moment.
    return float(value) if is_number and abs(value) < 1e11 else None  # type: ignore[arg-type]  # it is a number


def _date(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(moment))


def in_words(seconds: float) -> str:
    """A duration in its largest unit."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
