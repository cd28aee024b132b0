"""TLS for outgoing connections: the handshake done here and now, its failure said in plain words.

Must not know what is spoken inside. Whom to trust, the strongest first: `ssl_context` or `ca_file`
of the options, `SSL_CERT_FILE` and `SSL_CERT_DIR`, the system's certificates, certifi's.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from typing import Final

import trio
import trio.abc

from ..errors import CertificateError, ConnectError, OptionsError

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
        OptionsError: where `SSL_CERT_FILE` or `SSL_CERT_DIR` is set, and nobody would be trusted.
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
