"""Whom connections trust, and how a certificate that is not accepted is explained."""

from __future__ import annotations

import ssl
from functools import partial
from pathlib import Path
from typing import Any

import certifi
import pytest
import trio
import trustme

from vsdk_trio.backend.dialer import ProxyDialer, choose_dialer, default_ssl_context
from vsdk_trio.errors import CertificateError, OptionsError

pytestmark = pytest.mark.real


class Paths:
    """OpenSSL's paths, as on a machine where they are here."""

    def __init__(self, directory: Path) -> None:
        self.cafile, self.capath = None, str(directory)
        self.openssl_cafile, self.openssl_capath = str(directory / "cert.pem"), str(directory)


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine whose directory of certificates is there, and empty, as in a slim image."""
    directory = tmp_path / "certs"
    directory.mkdir()
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: Paths(directory))
    monkeypatch.setattr(
        ssl, "create_default_context", lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    )
    return directory


def test_an_empty_system_falls_back_to_certifi(bare: Path) -> None:
    expected = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    expected.load_verify_locations(cafile=certifi.where())
    for environ in ({}, {"SSL_CERT_FILE": "", "SSL_CERT_DIR": " "}):
        assert default_ssl_context(environ).cert_store_stats() == expected.cert_store_stats()


def test_a_directory_with_hashed_names_is_enough(bare: Path) -> None:
    (bare / "5ed36f99.0").touch()
    assert default_ssl_context({}).cert_store_stats()["x509"] == 0


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_a_variable_that_leads_nowhere_is_named(bare: Path, variable: str) -> None:
    with pytest.raises(OptionsError, match=f"{variable}={bare}: no certificate is there"):
        default_ssl_context({variable: str(bare)})


def test_empty_variables_leave_the_systems_certificates(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(bare / "cert.pem"))
    assert default_ssl_context({"SSL_CERT_FILE": ""}).cert_store_stats()["x509"] == 1


async def test_an_https_proxy_is_trusted_as_the_registry_is() -> None:
    authority = trustme.CA()
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(served)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    asked: list[bytes] = []

    async def proxy(stream: trio.SSLStream[trio.SocketStream]) -> None:
        try:
            asked.append(bytes(await stream.receive_some()))
            await stream.send_all(b"HTTP/1.1 200 yes\r\n\r\n")
        except trio.BrokenResourceError:
            return

    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_ssl_over_tcp, proxy, 0, served, host="127.0.0.1")
        listeners: Any = await nursery.start(serve)
        port = listeners[0].transport_listener.socket.getsockname()[1]
        url = f"https://127.0.0.1:{port}"
        for dialer in (
            choose_dialer(url, "wss://registry.test", {}, trust),
            choose_dialer(None, "wss://registry.test", {"HTTPS_PROXY": url}, trust),
        ):
            await trio.aclose_forcefully(await dialer.dial("registry.test", 443))
        assert [data.split()[0] for data in asked] == [b"CONNECT", b"CONNECT"]
        with pytest.raises(CertificateError, match="trust it: ca_file"):
            await ProxyDialer.from_url(url).dial("registry.test", 443)
        nursery.cancel_scope.cancel()
