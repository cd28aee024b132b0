"""The doctor's way to one host: proxy, DNS, connection, TLS. Each step on its own, in time.

Knows hosts and certificates; nothing of what is spoken afterwards.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import attrs
import trio
import trio.abc

from ..backend.dialer import Dialer, ProxyDialer, choose_dialer, default_ssl_context, secure
from ..backend.urls import host_and_port, is_tls
from ..errors import ConnectError, OptionsError, ShortageError
from ..system.threads import starting_threads
from ._doctor_token import in_words
from ._finding import Finding, Verdict, waiting_for

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
        advice = "the agent's ssl_context trusts everybody: anyone on the way can read all"
        return Finding(step, Verdict.WARNING, f"{version}, certificate not verified", advice)
    ends = ssl.cert_time_to_seconds(certificate["notAfter"])
    left = ends - time.time()
    date = time.strftime("%Y-%m-%d", time.gmtime(ends))
    text = (
        f"{version}, certificate of {_name(certificate, 'subject')} by "
        f"{_name(certificate, 'issuer')}, expires in {in_words(left)} ({date})"
    )
    if left < _SOON_DAYS * _DAY:
        return Finding(step, Verdict.WARNING, text, "it should be renewed by whoever runs the peer")
    return Finding(step, Verdict.OK, text)


def _name(certificate: dict[str, Any], field: str) -> str:
    """Whom a certificate names there; by its alternative names where the subject says nothing."""
    said = {key: value for entry in certificate.get(field, ()) for key, value in entry}
    others = [str(value) for _, value in certificate.get("subjectAltName", ())]
    known = said.get("commonName") or said.get("organizationName")
    return str(known or (", ".join(others[:3]) if field == "subject" else "") or "nobody")
