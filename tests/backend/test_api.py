"""The REST calls, against an HTTP server of a few lines on a simulated network."""

from __future__ import annotations

import json
import ssl
import traceback

import pytest
import trio
import trustme

from vsdk_trio.backend.api import DispatchResult, RegistryApi, is_refusal
from vsdk_trio.errors import ApiError, TokenError
from vsdk_trio.testing.raw_websocket import read_head


def answer(status: int, body: object, *headers: str) -> bytes:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} x", f"Content-Length: {len(raw)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + raw


@pytest.fixture
def api_answering(dialer_to):
    """Make an API whose every request is recorded and gets the same bytes for an answer."""

    def make(reply: bytes):
        requests = []

        async def serve(stream) -> None:
            head = await read_head(stream)
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            end = head.index(b"\r\n\r\n") + 4
            head, body = head[:end], head[end:]
            while len(body) < length:
                body += await stream.receive_some()
            requests.append((head, body))
            await stream.send_all(reply)

        return RegistryApi("http://api.test", lambda url: dialer_to(serve)), requests

    return make


async def test_init_config(autojump_clock, api_answering):
    api, requests = api_answering(
        answer(200, {"success": True, "data": {"registryUrl": "https://r.test"}})
    )
    assert await api.init_config("token") == "https://r.test"
    [(head, body)] = requests
    assert head.startswith(b"POST /v2/agent/init-config HTTP/1.1\r\n")
    assert b"\r\nAuthorization: token\r\n" in head
    assert b"\r\nContent-Type: application/json\r\n" in head
    assert body == b""


async def test_an_ipv6_host_is_bracketed(autojump_clock, dialer_to):
    heads = []

    async def serve(stream) -> None:
        heads.append(await read_head(stream))

    api = RegistryApi("http://[::1]:8080", lambda url: dialer_to(serve))
    with pytest.raises(ApiError):
        await api.init_config("token")
    assert b"\r\nHost: [::1]:8080\r\n" in heads[0]


async def test_a_token_that_occurs_in_the_answer_by_chance(autojump_clock, api_answering):
    api, _ = api_answering(answer(200, {"data": {"registryUrl": "https://data.test"}}))
    assert await api.init_config("data") == "https://data.test"


async def test_create_room(autojump_clock, api_answering):
    api, requests = api_answering(answer(200, {"roomId": "abcd-efgh"}))
    assert await api.create_room("token") == "abcd-efgh"
    assert requests[0][0].startswith(b"POST /v2/rooms HTTP/1.1\r\n")


async def test_dispatch(autojump_clock, api_answering):
    api, requests = api_answering(
        answer(200, {"message": "ok", "data": {"success": True, "status": "assigned"}})
    )
    result = await api.dispatch("token", "room", "agent", {"k": 1}, "v1")
    assert result == DispatchResult(
        success=True, status="assigned", room_id="room", agent_id="agent", message="ok"
    )
    assert json.loads(requests[0][1]) == {
        "meetingId": "room",
        "agentId": "agent",
        "metadata": {"k": 1},
        "versionId": "v1",
    }
    await api.dispatch("token", "room", "agent")
    assert json.loads(requests[1][1]) == {"meetingId": "room", "agentId": "agent"}


@pytest.mark.parametrize(
    ("reply", "status", "match"),
    [
        (answer(401, {"message": "bad secret-token"}), 401, r"401: bad \*\*\*"),
        (answer(403, b"<html>"), 403, "403: no message"),
        (answer(503, {"message": "later"}, "Retry-After: 9"), 503, "later"),
        (answer(200, {"success": False, "message": "no registry"}), 0, "no registry"),
        (answer(200, {"success": True, "data": {"registryUrl": ""}}), 0, "registryUrl"),
        (answer(200, {"success": True, "data": []}), 0, "registryUrl"),
        (answer(200, b"[1]"), 200, "JSON object"),
        (answer(200, b"junk"), 200, "JSON object"),
        (answer(200, b"[" * 200_000), 200, "JSON object"),
        (answer(200, b"x" * (2 << 20)), 0, "1 MiB"),
        (answer(404, {"message": {"nested": 1}}), 404, "dict"),
        (b"SSH-2.0\r\n\r\n", 0, r"api\.test"),
        (b"", 0, r"api\.test"),
    ],
)
async def test_answers_that_are_no_good(autojump_clock, api_answering, reply, status, match):
    api, _ = api_answering(reply)
    with pytest.raises(ApiError, match=match) as caught:
        await api.init_config("secret-token")
    assert caught.value.status == status
    assert is_refusal(caught.value) == (status in (401, 403))
    assert caught.value.retry_after == (9 if status == 503 else None)
    assert "secret-token" not in str(caught.value)


async def test_other_calls_that_fail(autojump_clock, api_answering):
    api, _ = api_answering(answer(200, {}))
    with pytest.raises(ApiError, match="no roomId"):
        await api.create_room("t")
    with pytest.raises(ApiError, match="dispatch failed: no message"):
        await api.dispatch("t", "room", "agent")


async def test_nobody_there(autojump_clock, dialer_to):
    dialer = dialer_to(lambda stream: stream.aclose())
    dialer.is_up = False
    with pytest.raises(ApiError, match="simulated network is down") as caught:
        await RegistryApi("http://api.test", lambda url: dialer).init_config("t")
    assert caught.value.status == 0


async def test_over_tls(autojump_clock, dialer_to):
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    client = ssl.create_default_context()
    authority.issue_cert("api.test").configure_cert(server)

    async def serve(stream) -> None:
        tls = trio.SSLStream(stream, server, server_side=True)
        await read_head(tls)
        await tls.send_all(answer(200, {"roomId": "r"}))

    with pytest.raises(ApiError, match="certificate is not accepted"):
        await RegistryApi("api.test", lambda url: dialer_to(serve)).create_room("t")
    authority.configure_trust(client)
    api = RegistryApi("api.test", lambda url: dialer_to(serve), client)
    assert await api.create_room("t") == "r"


@pytest.mark.parametrize("token", ["", "s3cret\nline", "s3cr\u00e9t"])
async def test_what_cannot_be_a_token_is_said_and_not_quoted(api_answering, token):
    api, requests = api_answering(answer(200, {}))
    with pytest.raises(TokenError) as caught:
        await api.init_config(token)
    assert "s3cr" not in str(caught.value)
    assert requests == []


@pytest.mark.parametrize(
    "reply",
    [
        b"t0p-s3cret\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nAuthorization t0p-s3cret\r\n\r\n",
        b"HTTP\xfe1.1 503 t0p-s3cret\r\n\r\n",
    ],
)
async def test_an_answer_that_is_no_http_and_quotes_the_token(autojump_clock, api_answering, reply):
    secret = "t0p-s3cret"  # by name below, since a traceback shows the lines of this program
    api, _ = api_answering(reply)
    with pytest.raises(ApiError) as caught:
        await api.create_room(secret)
    assert secret not in "".join(traceback.format_exception(caught.value))
