"""Targets: what people and environments write: addresses, proxies, entrypoints, options."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from vsdk_trio.backend.dialer import ProxyDialer, choose_dialer
from vsdk_trio.backend.token import check_token
from vsdk_trio.backend.urls import agent_url, api_base, host_and_port, is_tls, split_target
from vsdk_trio.errors import ConnectError, EntrypointError, OptionsError, TokenError
from vsdk_trio.jobs.entrypoint import EntrypointRef, parse
from vsdk_trio.options.room import RoomOptions
from vsdk_trio.options.worker import Options

from ..base import MAX_ERROR_CHARS, TOKEN, Target, expect, json_lines, only


def run_addresses(data: bytes) -> None:
    """Registry, API, proxy, NO_PROXY, token and entrypoint in any form."""
    text = data.decode("utf-8", "surrogateescape")

    def is_told() -> bool:
        return "@" not in text  # then it is a host, and no password

    with only(ConnectError, is_told=is_told):
        url = agent_url(text)
        target = split_target(url)
        expect(target.host and 0 < target.port < 65536, "a URL that leads nowhere")
        expect(target.resource.isascii() or not text.isascii(), "an odd resource")
        target.host_header.encode("ascii")
        expect(agent_url(text) == url, "not the same")
    with only(ConnectError, is_told=is_told):
        base = api_base(text)
        expect(api_base(base) == base, "the base of a base is another")
        split_target(base + "/v2/rooms").host_header.encode("ascii")
        is_tls(base)
        host_and_port(base)
    with only(OptionsError):
        proxy = ProxyDialer.from_url(text)
        expect(TOKEN not in repr(proxy) or TOKEN in (proxy.host + proxy.scheme), "a telling repr")
    first, _, second = text.partition("\n")
    with only(OptionsError):
        choose_dialer(None, "wss://registry.test:8443/", {"NO_PROXY": first, "ALL_PROXY": second})
    with only(ConnectError, OptionsError, is_told=is_told):
        choose_dialer(None, first, {"no_proxy": second, "https_proxy": "http://p:1"})
    with only(TokenError):
        check_token(text, origin="a token")
    with only(EntrypointError, is_told=lambda: True, most=len(data) * 8 + MAX_ERROR_CHARS):
        entrypoint = parse(text)
        expect(EntrypointRef.from_dict(entrypoint.to_dict()) == entrypoint, "not the same")


_VARIABLES = tuple(
    f"VSDK_TRIO_{name}".encode()
    for name in [
        "MAX_PROCESSES",
        "LOAD_THRESHOLD",
        "REGISTER",
        "AGENT_ID",
        "LOG_LEVEL",
        "HOST",
        "PORT",
        "AUTH_TOKEN",
        "STATE_DIR",
        "PING_INTERVAL",
        "EXECUTOR_TYPE",
        "STATUS_VOCABULARY",
        "JOB_TIMEOUT",
        "HTTP_PROXY",
        "MEMORY_LIMIT_MB",
        "START_METHOD",
        "CA_FILE",
        "TRANSPORT",
        "MAX_RETRY",
        "NONSENSE",
    ]
)
_SECRET_VARIABLES = ("VSDK_TRIO_AUTH_TOKEN", "VSDK_TRIO_HTTP_PROXY")


def run_environment(data: bytes) -> None:
    """Each line is a variable."""
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    environ = dict(line.split("=", 1) for line in lines if "=" in line)

    def is_told() -> bool:
        return any(
            TOKEN in name or (TOKEN in text and name not in _SECRET_VARIABLES)
            for name, text in environ.items()
        )

    # Whoever starts the worker wrote the value that an error quotes, and may read all of it.
    with only(OptionsError, is_told=is_told, most=len(data) * 8 + MAX_ERROR_CHARS):
        options = Options.from_env(environ)
        expect(TOKEN not in repr(options) or is_told(), "the token in a repr")


def run_room_options(data: bytes) -> None:
    """A JSON object over the defaults of a worker, and as what travels to a job."""
    try:
        overlay: Any = json.loads(data)
    except (ValueError, RecursionError):
        return
    if not isinstance(overlay, dict):
        return

    def is_told() -> bool:
        return TOKEN in json.dumps({k: v for k, v in overlay.items() if k != "auth_token"})

    with only(OptionsError, is_told=is_told):
        merged, unknown = RoomOptions(vision=True, traces={"export_url": "u"}).merged(overlay)
        expect(all(isinstance(name, str) for name in unknown), "a name that is no text")
        expect(TOKEN not in repr(merged) or is_told(), "the token in a repr")
        wire, lost = merged.to_wire()
        expect(not lost, "a live object out of JSON")
        again = RoomOptions()
        again.assign(json.loads(json.dumps(wire)))
        expect(again.to_wire() == (wire, lost), "not the same")
    with only(OptionsError, is_told=is_told):
        RoomOptions().assign(overlay)


_ADDRESSES = tuple(
    text.encode()
    for text in (
        "https://registry.test:8443/a/b?c=d#e",
        "ws://[::1]:80/",
        "api.videosdk.live",
        f"http://user:{TOKEN}@proxy.test:3128",
        f"socks5h://{TOKEN}:{TOKEN}@[fe80::1%25eth0]",
        "localhost,.example.com,10.0.0.0/8,[::1]:8080,*\nhttp://proxy.test",
        "https://bücher.example/ä?ö",
        "package.module:function",
        "path/to/script.py:main",
        TOKEN,
    )
)
_OPTIONS = (
    b'{"room_id":"r","auth_token":"' + TOKEN.encode() + b'","vision":true,"recording":true,'
    b'"recording_options":{"video":true,"screen_share":true},"session_timeout_seconds":5}',
    b'{"traces":{"enabled":true,"export_headers":{"a":"b"}},"logs":{"level":["INFO"]},'
    b'"transport_mode":"webrtc","webrtc":{"ice_servers":[{"urls":"u"}]},"websocket":{"port":1}}',
    b'{"observability":{"recording":{"video":true},"traces":null,"logs":{"level":"debug"}},'
    b'"dashboard_log_level":"error","join_meeting":null,"metrics":{"enabled":false}}',
)
_OPTION_NAMES = [
    "room_id",
    "auth_token",
    "name",
    "vision",
    "recording",
    "recording_options",
    "video",
    "screen_share",
    "join_meeting",
    "session_timeout_seconds",
    "traces",
    "metrics",
    "logs",
    "level",
    "enabled",
    "export_headers",
    "export_url",
    "webrtc",
    "observability",
    "websocket",
    "port",
    "path",
    "ice_servers",
    "transport_mode",
    "dashboard_log_level",
    "avatar",
    "on_room_error",
    "auto_end_session",
    "audio_codec",
]

TARGETS = (
    Target(
        name="addresses",
        run=run_addresses,
        seeds=_ADDRESSES,
        words=(
            b"://",
            b"@",
            b"[",
            b"]",
            b":",
            b"%",
            b"/",
            b".py",
            b"http",
            b"wss",
            b"\xdf",
            b"xn--",
            TOKEN.encode(),
            b"99999",
            b"..",
            "\u3002".encode(),
        ),
        built=st.text(st.sampled_from("ab:/@[].%?#*-_ \n0189é。"), max_size=30).map(str.encode),
        share=100,
    ),
    Target(
        name="environment",
        run=run_environment,
        seeds=(
            b"VSDK_TRIO_MAX_PROCESSES=4\nVSDK_TRIO_REGISTER=true\nPATH=x",
            b"VSDK_TRIO_AUTH_TOKEN=" + TOKEN.encode() + b"\nVSDK_TRIO_PORT=80",
            b"VSDK_TRIO_LOAD_THRESHOLD=0.5\nVSDK_TRIO_LOG_LEVEL=debug\nVSDK_TRIO_JOB_TIMEOUT=1e3",
        ),
        words=(*_VARIABLES, b"=", b"nan", b"inf", b"true", b"1_0", b"\xd9\xa3", b"9" * 5000),
        built=st.lists(
            st.tuples(st.sampled_from(_VARIABLES), st.text(max_size=10).map(str.encode)).map(
                b"=".join
            )
        ).map(b"\n".join),
        share=10,
        quick=1000,
    ),
    Target(
        name="room_options",
        run=run_room_options,
        seeds=_OPTIONS,
        words=tuple(name.encode() for name in (*_OPTION_NAMES, TOKEN, "NaN")),
        built=json_lines((), tuple(_OPTION_NAMES)),
        share=60,
    ),
)
