"""Who may ask."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from vsdk_trio.http_server.access import (
    Requester,
    deny_stranger,
    deny_web_page,
    is_local_name,
    is_token,
)


def requester(**fields: Any) -> Requester:
    return Requester(**{"peer": "127.0.0.1", "host": "127.0.0.1:8081", **fields})


def status(who: Requester, token: str | None = None) -> int:
    denial = deny_stranger(who, token, how_to_set="Options(...)")
    return 200 if denial is None else denial.status


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"])
def test_local_peers(peer: str) -> None:
    assert status(requester(peer=peer)) == 200


@pytest.mark.parametrize("peer", ["", "192.0.2.1", "::ffff:192.0.2.1", "10.0.0.1", "localhost"])
def test_peers_from_elsewhere(peer: str) -> None:
    assert status(requester(peer=peer)) == 403
    assert status(requester(peer=peer), "secret") == 401


def test_a_token_opens_the_door_from_anywhere() -> None:
    who = requester(peer="192.0.2.1", host="w.example", authorization="Bearer secret")
    assert status(who, "secret") == 200
    assert status(requester(authorization="Bearer wrong"), "secret") == 401
    # Where none is set, the header means nothing.
    assert status(requester(authorization="Bearer whatever")) == 200


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "Via", "X-Real-IP"])
def test_a_proxy_grants_nothing(header: str) -> None:
    headers = {"host": "127.0.0.1:8081", header.lower(): "127.0.0.1"}
    for peer in ("127.0.0.1", "192.0.2.1"):
        assert status(Requester.of(peer, "http", "GET", headers)) == 403
        assert status(Requester.of(peer, "http", "GET", headers), "secret") == 401


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1:80",
        "[::1]:80",
        "::1",
        "localhost:1",
        "LOCALHOST.",
        "a.localhost",
        "registry:80",
    ],
)
def test_names_that_nobody_can_point_here(host: str) -> None:
    assert is_local_name(host)


def test_the_machines_own_name_is_one() -> None:
    assert is_local_name(f"{socket.gethostname()}:8081")


@pytest.mark.parametrize("host", ["", "evil.example", "localhost.evil.example", "127.0.0.1.nip.io"])
def test_names_that_somebody_may_have_pointed_here(host: str) -> None:
    assert not is_local_name(host)
    assert status(requester(host=host)) == 403


@pytest.mark.parametrize(
    ("fields", "is_denied"),
    [
        ({}, False),
        ({"origin": "http://127.0.0.1:8081", "fetch_site": "same-origin"}, False),
        ({"fetch_site": "none", "fetch_mode": "navigate"}, False),
        ({"fetch_site": "cross-site", "fetch_mode": "navigate"}, False),
        ({"fetch_site": "cross-site", "fetch_mode": "navigate", "method": "POST"}, True),
        ({"fetch_site": "cross-site", "fetch_mode": "no-cors"}, True),
        ({"fetch_site": "same-site", "fetch_mode": "cors"}, True),
        ({"origin": "http://127.0.0.1:9999"}, True),
        ({"origin": "https://127.0.0.1:8081"}, True),
        ({"origin": "null"}, True),
        ({"host": "evil.example", "origin": "http://evil.example"}, True),
    ],
)
def test_other_web_pages_are_not_answered(fields: dict[str, Any], is_denied: bool) -> None:
    assert (deny_web_page(requester(**fields)) is not None) == is_denied


def test_from_elsewhere_any_name_will_do_for_a_page_of_our_own() -> None:
    # Behind a port mapping: the name is the operator's.
    who = requester(peer="172.17.0.1", host="registry:8080", origin="http://registry:8080")
    assert deny_web_page(who) is None


def test_tokens() -> None:
    assert is_token("Bearer secret", "secret")
    assert is_token("bearer secret", "secret")
    assert is_token("secret", "secret")
    assert not is_token(None, "secret")
    assert not is_token("Bearer ", "secret")
    assert not is_token("Bearer sécret", "secret")


def test_a_denial_does_not_repeat_at_length_what_it_was_sent() -> None:
    denial = deny_web_page(requester(host="x." * 10_000))
    assert denial is not None
    assert len(denial.message) < 400
    assert "secret" not in repr(requester(authorization="Bearer secret"))
