"""URLs of the registry: what the user or init-config gave, turned into what we connect to.

Pure string work: must not know sockets, proxies or tokens.
"""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit, urlunsplit

import attrs

from ..errors import ConnectError

_WS_SCHEME = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
_DEFAULT_PORT = {"http": 80, "https": 443, "ws": 80, "wss": 443}


@attrs.frozen(kw_only=True)
class Target:
    """Where one WebSocket goes: `host` and `port` to dial, and what the upgrade request says."""

    host: str
    port: int
    tls: bool
    resource: str
    host_header: str

    def __str__(self) -> str:
        return f"{'wss' if self.tls else 'ws'}://{self.host_header}"


def agent_url(registry_url: str) -> str:
    """Return the WebSocket URL of the worker endpoint of a registry.

    `http` becomes `ws`, `https` becomes `wss`, no scheme means `wss`; path prefix and query are
    kept, `/agent` is appended. Raises `ConnectError` for what cannot be such a URL.
    """
    parts = _split(registry_url, default_scheme="wss")
    path = parts.path.rstrip("/") + "/agent"
    return urlunsplit((_WS_SCHEME[parts.scheme], parts.netloc, path, parts.query, ""))


def api_base(signaling_base_url: str) -> str:
    """Return the base of the REST calls, without a slash at its end.

    It is `https` unless a scheme is given. Raises `ConnectError` for what cannot be such a URL.
    """
    parts = _split(signaling_base_url, default_scheme="https")
    if parts.scheme not in ("http", "https"):
        raise ConnectError(f"{parts.scheme}://{parts.netloc} is not an http(s) address")
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))


def answered_url(base: str, registry_url: str) -> str:
    """Return the registry's URL as the API at `base` has answered it: over TLS where the API is.

    An API that is reached over TLS and names `ws://` of its own host, with no other port, is behind
    a proxy that it does not know of: the registry is there, too, so the URL becomes `wss://`. Any
    other `ws://` would carry the token in plain text: raises `ConnectError`, which says what to do.
    """
    if (url := _kept_on_tls(base, registry_url, "wss")) is not None:
        return url
    api, named = _split(base, default_scheme="https"), _split(registry_url, default_scheme="wss")
    raise ConnectError(
        f"init-config at https://{api.netloc} named the registry {named.scheme}://{named.netloc}: "
        f"the token is not sent in plain text; have it name wss:// (a registry of your own: "
        f"--public-url https://{api.netloc}), or set backend_url to where the registry is"
    )


def answered_room_api(base: str, room_api: str) -> str:
    """Return the API of rooms that the registry at `base` has named to a job: see `answered_url`.

    Raises `ConnectError` where the job would send its token in plain text, and for no URL at all.
    """
    if (url := _kept_on_tls(base, room_api, "https")) is not None:
        return url
    named = _split(room_api, default_scheme="https")
    raise ConnectError(
        f"the registry is reached over TLS, and named {named.scheme}://{named.netloc} for rooms: a "
        "token is not sent in plain text; have it name https://"
    )


def _kept_on_tls(base: str, named: str, scheme: str) -> str | None:
    """The URL to use for `named`, which `base` has answered; None where it must get no token."""
    if not is_tls(base) or is_tls(named):
        return named
    api, parts = _split(base, default_scheme="https"), _split(named, default_scheme=scheme)
    if _host(api) == _host(parts) and parts.port in (None, _port(api)):
        return urlunsplit((scheme, api.netloc, parts.path, parts.query, ""))
    return None


def split_target(url: str) -> Target:
    """Take a `ws://` or `wss://` URL apart; raises `ConnectError` for anything else."""
    parts = _split(url, default_scheme="wss")
    scheme = _WS_SCHEME[parts.scheme]
    host, port = _host(parts), _port(parts)
    shown = f"[{host}]" if ":" in host else host
    if port != _DEFAULT_PORT[scheme]:
        shown += f":{port}"
    return Target(
        host=host,
        port=port,
        tls=scheme == "wss",
        resource=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        host_header=shown,
    )


def host_and_port(url: str) -> tuple[str, int]:
    """Return the host and the port (the scheme's own if none is given) that a URL leads to."""
    parts = _split(url, default_scheme="https")
    return _host(parts), _port(parts)


def is_tls(url: str) -> bool:
    """Whether a URL is reached over TLS (no scheme means yes)."""
    return _split(url, default_scheme="https").scheme in ("https", "wss")


def _host(parts: SplitResult) -> str:
    """The host as the network knows it, so that nothing down there has to encode it again."""
    host = parts.hostname or ""
    return host if ":" in host else host.encode("idna").decode("ascii")


def _port(parts: SplitResult) -> int:
    return parts.port or _DEFAULT_PORT[parts.scheme]


def _split(url: str, *, default_scheme: str) -> SplitResult:
    """Split and check; quotes neither the user part of a URL nor its query: both may be secrets."""
    text = url.strip()
    if "://" not in text:
        text = f"{default_scheme}://{text}"
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - the property raises for a port that is no number
        if parts.hostname is not None:
            parts.hostname.encode("idna" if ":" not in parts.hostname else "ascii")
    except ValueError:
        # `from None`: the original quotes what may be a part of a password.
        raise ConnectError("the registry's address is not a URL") from None
    if parts.username is not None or parts.password is not None:
        raise ConnectError("the registry's address must not contain credentials")
    if parts.scheme not in _WS_SCHEME:
        raise ConnectError(f"{parts.scheme}:// does not lead to a registry")
    if not parts.hostname or _has_junk(text):
        raise ConnectError("the registry's address has no host, or characters that no URL has")
    return parts


def _has_junk(text: str) -> bool:
    return any(character.isspace() or not character.isprintable() for character in text)
