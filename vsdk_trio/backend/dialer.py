"""Dialers: how a byte stream to a host is made, directly or through a proxy.

A dialer knows hosts and ports; it must not know TLS to the target, WebSockets, HTTP or tokens.
Everything that connects outward takes a `Dialer`, so that a test can give it a simulated network.
"""

from __future__ import annotations

import base64
import ipaddress
import ssl
from collections.abc import Callable, Mapping
from typing import Protocol
from urllib.parse import unquote, urlsplit

import attrs
import trio
import trio.abc

from .._masking import hide_login, peer_text
from ..errors import ConnectError, OptionsError, ShortageError
from ..system.shortages import shortage_among
from ..system.threads import starting_threads
from .tls import default_ssl_context, secure
from .urls import host_and_port, is_tls

_REASON_SHOWN = 200
_PROXY_PORTS = {"http": 3128, "https": 443, "socks5": 1080, "socks5h": 1080}


class Dialer(Protocol):
    """Makes byte streams; the only thing of the backend that touches the network."""

    async def dial(self, host: str, port: int) -> trio.abc.Stream:
        """Connect to `host`:`port`; raises `ConnectError`. The caller sets the time limit."""
        ...


DialerFor = Callable[[str], Dialer]
"""Chooses the dialer for a URL (a proxy may apply to one host and not to another)."""


@attrs.frozen
class DirectDialer:
    """Connects over TCP (trio's happy eyeballs over all addresses of the host)."""

    async def dial(self, host: str, port: int) -> trio.abc.Stream:
        """Connect to `host`:`port`; raises `ConnectError`."""
        try:
            with starting_threads(f"look up {host}"):
                return await trio.open_tcp_stream(host, port)
        except OSError as error:
            why = shortage_among(error, f"connect to {host}") or error
            raise ConnectError(f"cannot connect to {host}:{port}: {why}") from error


@attrs.frozen
class ProxyDialer:
    """Connects through a proxy: `http://` and `https://` (CONNECT), `socks5://`, `socks5h://`.

    Host names are resolved by the proxy in every case. Credentials stand percent-encoded in the
    URL; they appear in no repr and no error. Raises `OptionsError` for a URL that is no proxy.
    """

    scheme: str
    host: str
    port: int
    username: str | None = attrs.field(default=None, repr=False)
    password: str | None = attrs.field(default=None, repr=False)
    # For an `https://` proxy; None: whom the system trusts.
    ssl_context: ssl.SSLContext | None = attrs.field(default=None, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        hide_login(self.username or "", self.password or "")

    @classmethod
    def from_url(cls, url: str, ssl_context: ssl.SSLContext | None = None) -> ProxyDialer:
        """Read a proxy URL; without a scheme it is an `http://` one."""
        text = url.strip()
        try:
            parts = urlsplit(text if "://" in text else f"http://{text}")
            scheme, host, port = parts.scheme, parts.hostname, parts.port
        except ValueError:
            # `from None`: the original text may quote the password.
            raise OptionsError("the proxy's address is not a URL") from None
        if scheme not in _PROXY_PORTS:
            raise OptionsError(
                f"a proxy is one of {', '.join(f'{s}://' for s in _PROXY_PORTS)}, not {scheme}://"
            )
        if not host:
            raise OptionsError("the proxy's address has no host")
        return cls(
            scheme,
            host,
            port or _PROXY_PORTS[scheme],
            None if parts.username is None else unquote(parts.username),
            None if parts.password is None else unquote(parts.password),
            ssl_context,
        )

    async def dial(self, host: str, port: int) -> trio.abc.Stream:
        """Connect to `host`:`port` through the proxy; raises `ConnectError`."""
        if self.scheme.startswith("socks"):
            return await self._dial_socks(host, port)
        try:
            stream = await DirectDialer().dial(self.host, self.port)
        except ConnectError as error:
            raise self._failed("it cannot be reached") from error
        if self.scheme == "https":
            stream = await secure(stream, self.host, self.ssl_context or default_ssl_context())
        try:
            await self._http_connect(stream, host, port)
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return stream

    async def _http_connect(self, stream: trio.abc.Stream, host: str, port: int) -> None:
        """Say CONNECT and read the whole answer.

        Not python-socks here: it takes one read for the whole answer, so that a proxy which sends
        its header in two packets leaves half of it in front of the TLS handshake.
        """
        import h11

        authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        headers = [("Host", authority)]
        if self.username is not None:
            login = f"{self.username}:{self.password or ''}".encode()
            credentials = base64.b64encode(login).decode()
            headers.append(("Proxy-Authorization", f"Basic {credentials}"))
        http = h11.Connection(h11.CLIENT)
        try:
            request = h11.Request(method="CONNECT", target=authority, headers=headers)
            await stream.send_all(http.send(request) or b"")
            await stream.send_all(http.send(h11.EndOfMessage()) or b"")
            while (event := http.next_event()) is h11.NEED_DATA or isinstance(
                event, h11.InformationalResponse
            ):
                if event is h11.NEED_DATA:
                    http.receive_data(bytes(await stream.receive_some()))
        except h11.RemoteProtocolError:
            # `from None`: the original may quote what the proxy has quoted of our request.
            raise self._failed("it does not answer like an HTTP proxy") from None
        except h11.LocalProtocolError:
            # `from None`: the original may quote the header with the credentials.
            raise self._failed("the host or the credentials cannot stand in a header") from None
        except trio.BrokenResourceError as error:
            raise self._failed("it closed the connection") from error
        if not isinstance(event, h11.Response):
            raise self._failed("it closed the connection")
        if not 200 <= event.status_code < 300:
            # A refusal may quote what it refuses.
            reason = peer_text(bytes(event.reason).decode("ascii", "replace"), most=_REASON_SHOWN)
            raise self._failed(f"it answered {event.status_code} {reason}".rstrip())

    async def _dial_socks(self, host: str, port: int) -> trio.abc.Stream:
        from python_socks import ProxyConnectionError, ProxyError, ProxyTimeoutError, ProxyType
        from python_socks.async_.trio import Proxy

        proxy = Proxy(
            ProxyType.SOCKS5, self.host, self.port, self.username, self.password or "", rdns=True
        )
        try:
            # The time limit is the caller's; python-socks insists on one of its own.
            with starting_threads(f"look up {self.host}"):
                socket = await proxy.connect(host, port, timeout=float("inf"))
        except ShortageError as error:
            raise self._failed(str(error)) from error
        except (ProxyError, ProxyConnectionError, ProxyTimeoutError) as error:
            raise self._failed(peer_text(str(error), most=_REASON_SHOWN)) from error
        except (OSError, UnicodeError, ValueError) as error:
            raise self._failed(f"the connection broke ({type(error).__name__})") from error
        return trio.SocketStream(socket)

    def _failed(self, why: str) -> ConnectError:
        return ConnectError(f"proxy {self.scheme}://{self.host}:{self.port}: {why}")


def choose_dialer(
    http_proxy: str | None,
    target_url: str,
    environ: Mapping[str, str],
    ssl_context: ssl.SSLContext | None = None,
) -> Dialer:
    """Choose how to reach `target_url`; `ssl_context` is for an `https://` proxy.

    An explicit `http_proxy` always applies ("" means: no proxy, whatever the environment says).
    Else `HTTPS_PROXY` or `HTTP_PROXY` by the target's scheme, else `ALL_PROXY`, each also in
    lower case, unless `NO_PROXY` names the host or the host is a loopback address.
    Raises `OptionsError` for a URL that is no proxy.
    """
    if http_proxy is not None:
        if not http_proxy.strip():
            return DirectDialer()
        return ProxyDialer.from_url(http_proxy, ssl_context)
    names = ("https_proxy", "all_proxy") if is_tls(target_url) else ("http_proxy", "all_proxy")
    proxy = next(filter(None, (_environment(environ, name) for name in names)), "")
    if not proxy:
        return DirectDialer()
    host, port = host_and_port(target_url)
    if _is_loopback(host) or _is_exempt(host, port, _environment(environ, "no_proxy")):
        return DirectDialer()
    return ProxyDialer.from_url(proxy, ssl_context)


def _environment(environ: Mapping[str, str], name: str) -> str:
    return (environ.get(name) or environ.get(name.upper()) or "").strip()


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return None


def _is_loopback(host: str) -> bool:
    address = _address(host)
    if address is not None:
        return address.is_loopback
    return host == "localhost" or host.endswith(".localhost")


def _is_exempt(host: str, port: int, no_proxy: str) -> bool:
    entries = (entry.strip().lower() for entry in no_proxy.split(","))
    return any(_entry_matches(entry, host.lower(), port) for entry in entries if entry)


def _entry_matches(entry: str, host: str, port: int) -> bool:
    """One entry of NO_PROXY: `*`, an address, a network, or a domain with its subdomains."""
    if entry == "*":
        return True
    name, colon, wanted_port = entry.rpartition(":")
    if colon and wanted_port.isdigit() and (":" not in name or name.endswith("]")):
        if int(wanted_port) != port:
            return False
        entry = name
    address = _address(host)
    if address is not None:
        try:
            return address in ipaddress.ip_network(entry.strip("[]"), strict=False)
        except ValueError:
            return False
    suffix = entry.removeprefix("*").removeprefix(".")
    return host == suffix or host.endswith("." + suffix)
