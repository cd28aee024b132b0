"""A certificate of one's own for the fake, and the file that makes others trust it."""

from __future__ import annotations

import ssl
from pathlib import Path

import certifi


def make_certificate(host: str, ca_file: Path) -> ssl.SSLContext:
    """A server's TLS context for `host` and localhost; writes whom to trust to `ca_file`.

    The file also has the usual authorities, because a program that is pointed to it trusts nobody
    else. The private keys exist in memory only.
    """
    import trustme

    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1", host)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    usual = Path(certifi.where()).read_bytes()
    ca_file.write_bytes(authority.cert_pem.bytes() + usual)
    return context
