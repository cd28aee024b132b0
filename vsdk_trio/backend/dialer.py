"""Byte streams to a host: directly or through a proxy, in plain text or over TLS.

A dialer makes a stream and knows hosts and ports only. `secure` does the TLS handshake over a
stream. Neither knows WebSockets, HTTP requests or tokens. Everything that connects outward takes a
`Dialer`, so that a test can give it a simulated network.

Which certificates are trusted, the strongest first: `ssl_context` or `ca_file` of the options,
`SSL_CERT_FILE` and `SSL_CERT_DIR`, the system's certificates, certifi's.
"""

from __future__ import annotations

import base64
import ipaddress
import os
import re
import ssl
from collections.abc import Callable, Mapping
from typing import Final, Protocol
from urllib.parse import unquote, urlsplit

import attrs
import trio
import trio.abc

from .._masking import hide_login, peer_text
from ..errors import CertificateError, ConnectError, OptionsError, ShortageError
from ..system.shortages import shortage_among
from ..system.threads import starting_threads
from .urls import host_and_port, is_tls

_VARIABLES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR")
# What OpenSSL calls certificates in a directory: by a hash of whose they are.
_HASHED: Final = re.compile(r"[0-9a-f]{8}\.\d+")
_TRUST_IT: Final = (
    "where its authority is your own, trust it: ca_file, --ca-file or VSDK_TRIO_CA_FILE"
)
_LOOK_AT_CLOCK: Final = "it must be renewed, or the clock of this machine is wrong"
# By OpenSSL's `X509_V_ERR_*` numbers.
_WHAT_TO_DO: Final = {
    9: _LOOK_AT_CLOCK,
    10: _LOOK_AT_CLOCK,
    18: _TRUST_IT,
    19: _TRUST_IT,
    20: _TRUST_IT,
    21: _TRUST_IT,
    62: "ask for the host by a name that its certificate has",
    64: "ask for the host by an address that its certificate has",
}


def default_ssl_context(environ: Mapping[str, str] = os.environ) -> ssl.SSLContext:
    """Trust as the environment says, else as the system does, else as certifi does.

    Raises:
        OptionsError: where `SSL_CERT_FILE` or `SSL_CERT_DIR` is set, and holds no certificate.
    """
    context = ssl.create_default_context()
    paths = ssl.get_default_verify_paths()
    given = {name: text for name in _VARIABLES if (text := environ.get(name, "").strip())}
    file = given.get("SSL_CERT_FILE", paths.openssl_cafile)
    directory = given.get("SSL_CERT_DIR", paths.openssl_capath)
    if any(not environ.get(name, "unset").strip() for name in _VARIABLES):
        # One is set and empty, which Python takes for a path.
        _load(context, file, directory)
    if context.cert_store_stats()["x509"] or _has_certificates(directory):
        return context
    if given:
        told = " and ".join(f"{name}={text}" for name, text in given.items())
        raise OptionsError(
            f"{told}: no certificate is there, so that no peer would be trusted; "
            "correct it, unset it, or name a file with the authorities: VSDK_TRIO_CA_FILE"
        )
    import certifi

    context.load_verify_locations(cafile=certifi.where())
    return context


def _load(context: ssl.SSLContext, file: str, directory: str) -> None:
    if os.path.isfile(file) and os.path.getsize(file):
        context.load_verify_locations(cafile=file)
    if os.path.isdir(directory):
        context.load_verify_locations(capath=directory)


def _has_certificates(directories: str) -> bool:
    """Whether there are any. They are loaded one by one, when they are needed."""
    for directory in directories.split(os.pathsep):
        try:
            names = os.listdir(directory)
        except OSError:
            continue
        if any(map(_HASHED.fullmatch, names)):
            return True
    return False


async def secure(
    stream: trio.abc.Stream, host: str, context: ssl.SSLContext
) -> trio.SSLStream[trio.abc.Stream]:
    """Do the TLS handshake with `host` over `stream`; takes the stream over.

    Closes `stream` on failure and on cancellation.

    Raises:
        CertificateError: where the certificate is not accepted.
        ConnectError: where the peer does not speak TLS as we do.
    """
    tls = trio.SSLStream(stream, context, server_hostname=host, https_compatible=True)
    try:
        await tls.do_handshake()
    except trio.BrokenResourceError as error:
        await trio.aclose_forcefully(stream)
        raise _explained(host, error.__cause__) from error
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return tls


def _explained(host: str, cause: BaseException | None) -> ConnectError:
    match cause:
        case ssl.SSLCertVerificationError():
            todo = _WHAT_TO_DO.get(cause.verify_code, "")
            why = f"its certificate is not accepted: {cause.verify_message}"
            return CertificateError(f"TLS with {host} failed: {why}{todo and f'; {todo}'}")
        case ssl.SSLError(reason=reason) if "EOF" not in (reason or "EOF"):
            return ConnectError(
                f"TLS with {host} failed: it does not speak TLS as we do ({reason})"
            )
        case _:
            return ConnectError(f"TLS with {host} failed: it closed the connection")


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
    # For an `https://` proxy; None: the system's certificates.
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
