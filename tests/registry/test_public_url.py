"""The address that a registry hands out is the one that its caller has used."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urlsplit

import httpcore
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsdk_trio.backend.urls import agent_url
from vsdk_trio.errors import OptionsError
from vsdk_trio.registry.core import Registry
from vsdk_trio.registry.public_url import registry_url
from vsdk_trio.registry.server import open_registry

HOST = "10.0.0.7:8080"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, f"ws://{HOST}"),
        ({"X-Forwarded-Proto": "https"}, f"wss://{HOST}"),
        ({"X-Forwarded-Proto": "HTTPS, http"}, f"wss://{HOST}"),
        ({"X-Forwarded-Proto": "wss"}, f"wss://{HOST}"),
        (
            {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "reg.example.com"},
            "wss://reg.example.com",
        ),
        (
            {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "reg.example.com, 10.0.0.1"},
            "wss://reg.example.com",
        ),
        (
            {
                "X-Forwarded-Proto": "https",
                "X-Forwarded-Host": "reg.example.com",
                "X-Forwarded-Port": "8443",
                "X-Forwarded-Prefix": "/vsdk/",
            },
            "wss://reg.example.com:8443/vsdk",
        ),
        (
            {
                "X-Forwarded-Proto": "https",
                "X-Forwarded-Host": "reg.example.com",
                "X-Forwarded-Port": "443",
            },
            "wss://reg.example.com",
        ),
        (
            {"X-Forwarded-Host": "reg.example.com:9000", "X-Forwarded-Port": "8443"},
            "ws://reg.example.com:9000",
        ),
        ({"X-Forwarded-Host": "[fd00::1]", "X-Forwarded-Port": "8443"}, "ws://[fd00::1]:8443"),
        ({"X-Forwarded-Prefix": "/a/b, /c"}, f"ws://{HOST}/a/b"),
        (
            {"Forwarded": 'for=192.0.2.60;proto=https;host="reg.example.com:8443", for=10.0.0.1'},
            "wss://reg.example.com:8443",
        ),
        (
            {"Forwarded": "Proto=https; Host=reg.example.com", "X-Forwarded-Prefix": "/p"},
            "wss://reg.example.com/p",
        ),
        (
            {"Forwarded": "for=192.0.2.60, proto=https", "X-Forwarded-Proto": "https"},
            f"wss://{HOST}",
        ),
        # What no proxy says is left out.
        ({"X-Forwarded-Proto": "gopher"}, f"ws://{HOST}"),
        ({"X-Forwarded-Host": "user:word@evil"}, f"ws://{HOST}"),
        ({"X-Forwarded-Host": "evil/path"}, f"ws://{HOST}"),
        ({"X-Forwarded-Prefix": "//evil.example.com"}, f"ws://{HOST}"),
        ({"X-Forwarded-Prefix": "/a?b=c"}, f"ws://{HOST}"),
        ({"X-Forwarded-Port": "many"}, f"ws://{HOST}"),
        ({"X-Forwarded-Host": "a.test", "X-Forwarded-Port": "70000"}, "ws://a.test"),
        ({"X-Forwarded-Host": "a.test:70000"}, f"ws://{HOST}"),
        ({"X-Forwarded-Host": "[::::]"}, f"ws://{HOST}"),
        ({"X-Forwarded-Host": "."}, f"ws://{HOST}"),
        ({"Forwarded": "garbage"}, f"ws://{HOST}"),
        ({"X-Forwarded-Proto": "", "X-Forwarded-Host": " "}, f"ws://{HOST}"),
    ],
)
def test_what_a_proxy_says(headers: dict[str, str], expected: str) -> None:
    lower = {name.lower(): value for name, value in headers.items()}
    assert registry_url("http", HOST, lower) == expected


def test_the_request_itself_by_tls() -> None:
    assert registry_url("https", "reg.example.com", {}) == "wss://reg.example.com"


@pytest.mark.parametrize(
    ("public_url", "expected"),
    [
        ("https://reg.example.com", "wss://reg.example.com"),
        ("http://reg.example.com:81/p/", "ws://reg.example.com:81/p"),
        ("WSS://reg.example.com", "wss://reg.example.com"),
    ],
)
def test_a_public_url_wins(public_url: str, expected: str) -> None:
    headers = {"x-forwarded-proto": "http", "x-forwarded-host": "other", "forwarded": "host=third"}
    assert registry_url("http", HOST, headers, public_url=public_url) == expected


NAMES = [f"x-forwarded-{name}" for name in ("proto", "host", "port", "prefix")] + ["forwarded"]


TOLD = st.text(max_size=60) | st.from_regex(r"[\w.:\[\]-]{1,20}(,|;host=)?", fullmatch=True)


@given(st.dictionaries(st.sampled_from(NAMES), TOLD))
def test_whatever_is_said_a_url_comes_out(headers: dict[str, str]) -> None:
    url = registry_url("http", HOST, headers)
    parts = urlsplit(url)
    assert parts.scheme in ("ws", "wss")
    assert parts.username is None
    assert not parts.query
    assert not parts.fragment
    assert not re.search(r"[\s\\]", url)
    assert parts.hostname
    agent_url(url)


@pytest.mark.real
@pytest.mark.parametrize("public_url", [None, "", "https://public.example.com/p"])
async def test_over_http(public_url: str | None) -> None:
    async with (
        open_registry(Registry(auth_token="t"), public_url=public_url) as running,
        httpcore.AsyncConnectionPool() as pool,
    ):
        headers = {"Host": "reg.example.com", "Authorization": "t", "X-Forwarded-Proto": "https"}
        headers["X-Forwarded-Prefix"] = "/vsdk"
        url = f"{running.url}/v2/agent/init-config"
        answer: Any = json.loads((await pool.request("POST", url, headers=headers)).content)
    expected = "wss://public.example.com/p" if public_url else "wss://reg.example.com/vsdk"
    assert answer["data"]["registryUrl"] == expected


@pytest.mark.real
@pytest.mark.parametrize("public_url", ["reg.example.com", "ftp://reg.example.com"])
async def test_what_is_no_public_url(public_url: str) -> None:
    with pytest.raises(OptionsError, match="public_url must be the URL of a registry"):
        async with open_registry(public_url=public_url):
            pass
