"""The doctor's checks: the token and its claims, then proxy, DNS, connection and TLS to one host.

Each check gives a `Finding`. The token itself is never shown.
"""

from __future__ import annotations

import base64
import enum
import ipaddress
import json
import math
import os
import socket
import ssl
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import attrs
import trio
import trio.abc

from ..backend.dialer import Dialer, ProxyDialer, choose_dialer, default_ssl_context, secure
from ..backend.token import TokenProvider
from ..backend.urls import host_and_port, is_tls
from ..errors import ConnectError, OptionsError, ShortageError, TokenError
from ..options.worker import Options
from ..system.threads import starting_threads
from ._output import harmless, print_json


class Verdict(enum.StrEnum):
    """How a step went."""

    OK = "ok"
    WARNING = "warn"
    FAILED = "FAIL"
    SKIPPED = "skip"


_STYLES = {
    Verdict.OK: "green",
    Verdict.WARNING: "yellow",
    Verdict.FAILED: "bold red",
    Verdict.SKIPPED: "dim",
}
_NAME_WIDTH = 21


@attrs.frozen
class Finding:
    """One step: what was found, and, where something is wrong, what to do about it."""

    step: str
    verdict: Verdict
    text: str
    advice: str = ""


@contextmanager
def waiting_for(step: str) -> Iterator[None]:
    """Around a step that may take long: on a terminal, say that it is being taken."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(f"{step} ..."):
        yield


def print_finding(finding: Finding) -> None:
    """Print one finding for a person; colours only on a terminal."""
    from rich.console import Console
    from rich.text import Text

    console = Console(soft_wrap=True)
    line = Text()  # without a style, which would apply to all parts
    line.append(f"{finding.verdict:<5}", style=_STYLES[finding.verdict])
    line.append(f"{finding.step:<{_NAME_WIDTH}}")
    line.append(harmless(finding.text))
    console.print(line)
    if finding.advice:
        console.print(Text(f"     -> {harmless(finding.advice)}"))


def print_findings_json(findings: list[Finding]) -> None:
    """Print all findings as one JSON object."""
    steps = [
        {
            "step": finding.step,
            "verdict": finding.verdict.lower(),
            "text": finding.text,
            "advice": finding.advice or None,
        }
        for finding in findings
    ]
    is_well = all(finding.verdict is not Verdict.FAILED for finding in findings)
    print_json({"ok": is_well, "steps": steps})


_SOON_SECONDS: Final = 3600.0
# A difference of two clocks that causes no trouble.
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
    """The finding about the token, and the token if there is one."""
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


Report = Callable[[Finding], None]
_T = TypeVar("_T")
_DAY: Final = 86400.0
_SOON_DAYS: Final = 14.0


class StepFailed(Exception):
    """A step has failed, and was reported: what stands on it cannot be tried."""


@attrs.frozen(kw_only=True)
class Way:
    """How to get somewhere: the proxy that is configured, whom to trust, how long to wait."""

    http_proxy: str | None = attrs.field(repr=False)
    ssl_context: ssl.SSLContext | None
    seconds: float
    report: Report

    async def go(self, name: str, url: str) -> Dialer:
        """Take every step towards `url`, and report each as one of `name`.

        Returns how to connect there. Raises `StepFailed`.
        """
        dialer = self._choose(name, url)
        host, port = host_and_port(url)
        via = (dialer.host, dialer.port) if isinstance(dialer, ProxyDialer) else (host, port)
        await self._resolve(name, *via)
        stream = await self._connect(name, dialer, host, port)
        try:
            if is_tls(url):
                await self._secure(name, stream, host)
        finally:
            with trio.move_on_after(1, shield=True):
                await trio.aclose_forcefully(stream)
        return dialer

    async def step(
        self, name: str, act: Callable[[], Awaitable[_T]], *, advice: str, slow: str = ""
    ) -> _T:
        """The result of `act`, in time; what fails is reported with `advice` (`slow`: too late)."""
        why = f"nothing within {self.seconds:g} s"
        with waiting_for(name), trio.move_on_after(self.seconds):
            try:
                return await act()
            except ConnectError as error:
                why, slow = str(error), ""
        self.fail(name, why, slow or advice)
        raise StepFailed(name)

    def ok(self, name: str, text: str) -> None:
        """Report that a step went well."""
        self.report(Finding(name, Verdict.OK, text))

    def fail(self, name: str, text: str, advice: str) -> None:
        """Report that a step failed."""
        self.report(Finding(name, Verdict.FAILED, text, advice))

    def _choose(self, name: str, url: str) -> Dialer:
        try:
            dialer = choose_dialer(self.http_proxy, url, os.environ, self.ssl_context)
        except OptionsError as error:
            self.fail(f"{name} proxy", str(error), "correct http_proxy, HTTPS_PROXY or ALL_PROXY")
            raise StepFailed(name) from None
        if isinstance(dialer, ProxyDialer):
            self.ok(f"{name} proxy", f"{dialer.scheme}://{dialer.host}:{dialer.port}")
        return dialer

    async def _resolve(self, name: str, host: str, port: int) -> None:
        try:
            ipaddress.ip_address(host)
        except ValueError:
            pass
        else:
            return

        async def look_up() -> list[str]:
            try:
                with starting_threads(f"look up {host}"):
                    found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            except ShortageError as error:
                raise ConnectError(str(error)) from error
            except socket.gaierror as error:
                raise ConnectError(f"{host} has no address: {error.strerror}") from error
            return list(dict.fromkeys(str(entry[4][0]) for entry in found))

        advice = "is the name right, and does this machine have DNS? a proxy is not asked for it"
        addresses = await self.step(f"{name} DNS", look_up, advice=advice)
        self.ok(f"{name} DNS", f"{host} is {', '.join(addresses[:4])}")

    async def _connect(self, name: str, dialer: Dialer, host: str, port: int) -> trio.abc.Stream:
        began = trio.current_time()
        is_proxied = isinstance(dialer, ProxyDialer)
        stream = await self.step(
            f"{name} connection",
            lambda: dialer.dial(host, port),
            advice="does the proxy let this machine through? its address is in http_proxy, "
            "HTTPS_PROXY or ALL_PROXY; NO_PROXY excepts a host"
            if is_proxied
            else "does it run there, and does a firewall let this machine through?",
            slow="a firewall drops what is sent, or the address is wrong; is there a proxy to use?",
        )
        took = 1000 * (trio.current_time() - began)
        through = " through the proxy" if is_proxied else ""
        self.ok(f"{name} connection", f"to {host}:{port}{through} in {took:.0f} ms")
        return stream

    async def _secure(self, name: str, stream: trio.abc.Stream, host: str) -> None:
        context = self.ssl_context or default_ssl_context()
        tls: Any = await self.step(
            f"{name} TLS",
            lambda: secure(stream, host, context),
            advice="where the certificate is of an authority of your own, trust it: --ca-file, or "
            "VSDK_TRIO_CA_FILE; where the peer speaks no TLS, write http:// or ws://",
            slow="the peer accepts connections and says nothing: is it the right port?",
        )
        self.report(_of_certificate(f"{name} TLS", tls.getpeercert(), str(tls.version())))


def _of_certificate(step: str, certificate: dict[str, Any], version: str) -> Finding:
    if not certificate:
        advice = (
            "the agent's ssl_context checks no certificate: anyone on the network path can read all"
        )
        return Finding(step, Verdict.WARNING, f"{version}, certificate not verified", advice)
    ends = ssl.cert_time_to_seconds(certificate["notAfter"])
    left = ends - time.time()
    date = time.strftime("%Y-%m-%d", time.gmtime(ends))
    text = (
        f"{version}, certificate of {_name(certificate, 'subject')} by "
        f"{_name(certificate, 'issuer')}, expires in {in_words(left)} ({date})"
    )
    if left < _SOON_DAYS * _DAY:
        return Finding(step, Verdict.WARNING, text, "the operator of the peer should renew it")
    return Finding(step, Verdict.OK, text)


def _name(certificate: dict[str, Any], field: str) -> str:
    """Whom a certificate names there; by its alternative names where the subject says nothing."""
    said = {key: value for entry in certificate.get(field, ()) for key, value in entry}
    others = [str(value) for _, value in certificate.get("subjectAltName", ())]
    known = said.get("commonName") or said.get("organizationName")
    return str(known or (", ".join(others[:3]) if field == "subject" else "") or "nobody")
