"""TLS for outgoing connections: the handshake done here and now, its failure said in plain words.

Must not know what is spoken inside.
"""

from __future__ import annotations

import ssl

import trio
import trio.abc

from ..errors import ConnectError


def default_ssl_context() -> ssl.SSLContext:
    """The system's trust store, or certifi's where the system has none."""
    context = ssl.create_default_context()
    paths = ssl.get_default_verify_paths()
    if not paths.cafile and not paths.capath and not context.cert_store_stats()["x509_ca"]:
        import certifi

        context.load_verify_locations(cafile=certifi.where())
    return context


async def secure(
    stream: trio.abc.Stream, host: str, context: ssl.SSLContext
) -> trio.SSLStream[trio.abc.Stream]:
    """Do the TLS handshake with `host` over `stream`; takes the stream over.

    Raises `ConnectError` that says what is wrong with the certificate, or that the peer does not
    speak TLS. Closes `stream` on failure and on cancellation.
    """
    tls = trio.SSLStream(stream, context, server_hostname=host, https_compatible=True)
    try:
        await tls.do_handshake()
    except trio.BrokenResourceError as error:
        await trio.aclose_forcefully(stream)
        raise ConnectError(f"TLS with {host} failed: {_reason(error.__cause__)}") from error
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return tls


def _reason(cause: BaseException | None) -> str:
    match cause:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not accepted: {cause.verify_message}"
        case ssl.SSLError(reason=reason) if "EOF" not in (reason or "EOF"):
            return f"it does not speak TLS as we do ({reason})"
        case _:
            return "it closed the connection"
