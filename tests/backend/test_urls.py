"""Registry addresses: what users and init-config write, and what becomes of it."""

from __future__ import annotations

import traceback

import pytest

from vsdk_trio.backend.urls import agent_url, api_base, host_and_port, is_tls, split_target
from vsdk_trio.errors import ConnectError


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("https://r.example", "wss://r.example/agent"),
        ("http://localhost:8080", "ws://localhost:8080/agent"),
        ("ws://r.example/", "ws://r.example/agent"),
        ("wss://r.example/a/b/?region=eu", "wss://r.example/a/b/agent?region=eu"),
        ("r.example", "wss://r.example/agent"),
        ("localhost:8080/base", "wss://localhost:8080/base/agent"),
        (" https://r.example ", "wss://r.example/agent"),
        ("http://[::1]:81", "ws://[::1]:81/agent"),
        ("HTTPS://r.example#part", "wss://r.example/agent"),
    ],
)
def test_agent_url(given, wanted):
    assert agent_url(given) == wanted


@pytest.mark.parametrize(
    "given",
    [
        "",
        "https://",
        "ftp://r.example",
        "http://r.example:port",
        "http://r.example:99999",
        "http://[::1",
        "http://r ex",
        "http://r\x00x",
        "http://a..b",
    ],
)
def test_junk_is_refused(given):
    with pytest.raises(ConnectError):
        agent_url(given)


@pytest.mark.parametrize(
    "given",
    [
        "https://user:s3cret@r.example",
        "https://user:s3cret/word@r.example",
        "https://user:s3cret\uff0f@r.example",
        "wss://r example?token=s3cret",
        "gopher://r.example?token=s3cret",
        "wss://?token=s3cret",
    ],
)
def test_secrets_in_junk_are_not_quoted(given):
    with pytest.raises(ConnectError) as caught:
        agent_url(given)
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


def test_a_host_in_any_script():
    target = split_target("wss://b\u00fccher.example:81/agent")
    assert (target.host, target.host_header) == (
        "xn--bcher-kva.example",
        "xn--bcher-kva.example:81",
    )
    # Not allowed by all versions of IDNA: what is asked of the network is ASCII all the same.
    assert split_target("wss://\u2603.example").host == "xn--n3h.example"
    assert host_and_port("wss://\u2603.example") == ("xn--n3h.example", 443)


def test_api_base():
    assert api_base("api.videosdk.live") == "https://api.videosdk.live"
    assert api_base("http://127.0.0.1:8080/") == "http://127.0.0.1:8080"
    assert api_base("https://a/b/?q=1") == "https://a/b"
    with pytest.raises(ConnectError, match="not an http"):
        api_base("ws://a")


def test_split_target():
    target = split_target("wss://r.example/agent?a=b")
    assert (target.host, target.port, target.tls) == ("r.example", 443, True)
    assert (target.resource, target.host_header) == ("/agent?a=b", "r.example")
    assert str(target) == "wss://r.example"
    target = split_target("ws://[::1]:8080")
    assert (target.host, target.port, target.tls) == ("::1", 8080, False)
    assert (target.resource, target.host_header) == ("/", "[::1]:8080")
    assert str(target) == "ws://[::1]:8080"


def test_host_and_port():
    assert host_and_port("http://a") == ("a", 80)
    assert host_and_port("a:81") == ("a", 81)
    assert is_tls("a")
    assert not is_tls("ws://a")
