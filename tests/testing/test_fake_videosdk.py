"""The stand-in for the room service, by hand: what it answers without the SDK. No media."""

from __future__ import annotations

import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio_websocket import WebSocketConnection, open_websocket_url

from vsdk_trio.errors import PortInUseError
from vsdk_trio.rooms.rest import create_room
from vsdk_trio.testing import FakeVideoSDK, open_fake_videosdk
from vsdk_trio.testing.videosdk import RefusedError
from vsdk_trio.testing.videosdk import service as service_module

pytestmark = pytest.mark.real

TOKEN = "a-token"
CONFIG = "/infra/v1/meetings/server-init-config"


@pytest.fixture
async def fake() -> AsyncIterator[FakeVideoSDK]:
    async with open_fake_videosdk(tokens=frozenset({TOKEN})) as running:
        yield running


async def ask(fake: FakeVideoSDK, request: bytes) -> bytes:
    """What the REST port answers to these bytes."""
    host, port = fake.signaling_base_url.split(":")
    context = ssl.create_default_context(cafile=fake.ca_file)
    stream = await trio.open_ssl_over_tcp_stream(
        host, int(port), ssl_context=context, https_compatible=True
    )
    answer = b""
    with trio.fail_after(10):
        async with stream:
            await stream.send_all(request)
            async for data in stream:
                answer += data
    return answer


async def post(fake: FakeVideoSDK, path: str, body: Any, token: str = TOKEN) -> tuple[int, Any]:
    data = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n"
        f"Content-Length: {len(data)}\r\n\r\n"
    )
    answer = await ask(fake, head.encode() + data)
    return int(answer.split()[1]), json.loads(answer.partition(b"\r\n\r\n")[2])


@asynccontextmanager
async def member(fake: FakeVideoSDK, name: str, **query: str) -> AsyncIterator[WebSocketConnection]:
    """A connection that has joined `room`; its first answers and news are read."""
    _, config = await post(fake, CONFIG, {"roomId": "room"})
    fields = {"roomId": "room", "peerId": name, "secret": TOKEN, "mode": "SEND_AND_RECV", **query}
    url = f"{config['data']['signalingUrl']}/?" + "&".join(f"{k}={v}" for k, v in fields.items())
    async with open_websocket_url(url, subprotocols=["protoo"]) as ws:
        yield ws


async def request(ws: WebSocketConnection, method: str, data: Any) -> Any:
    """Ask, and return the answer; what comes before it is thrown away."""
    await ws.send_message(json.dumps({"request": True, "id": 7, "method": method, "data": data}))
    return await news(ws, lambda frame: frame.get("response") and frame["id"] == 7)


async def news(ws: WebSocketConnection, wanted: Any) -> Any:
    with trio.fail_after(10):
        while True:
            frame = json.loads(await ws.get_message())
            if wanted(frame):
                return frame


def of(method: str) -> Any:
    return lambda frame: frame.get("method") == method


async def test_rooms_are_created_by_those_with_a_token(
    fake: FakeVideoSDK, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(fake.ca_file))
    room_id = await create_room(TOKEN, fake.signaling_base_url)
    assert room_id in fake.rooms
    assert (await fake.wait_for_room()).room_id == room_id
    status, answer = await post(fake, "/v2/rooms", {}, token="wrong")
    assert (status, answer) == (401, {"message": "Token is invalid or expired"})
    assert fake.tokens_seen == {TOKEN, "wrong"}


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
        (b"POST /v2/rooms HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n{a}", b"400"),
        (b"POST /nowhere HTTP/1.1\r\nHost: x\r\n\r\n", b"404"),
    ],
)
async def test_what_makes_no_sense_is_refused(
    fake: FakeVideoSDK, data: bytes, status: bytes
) -> None:
    assert (await ask(fake, data)).split()[1] == status


@pytest.mark.parametrize(
    "junk", [b"\x00\x01junk\r\n\r\n", b"POST / HTTP/1.1\r\n" + b"x" * 2_000_000]
)
async def test_what_is_no_http_is_hung_up_on(fake: FakeVideoSDK, junk: bytes) -> None:
    with pytest.raises((trio.BrokenResourceError, IndexError)):  # IndexError: no answer at all
        (await ask(fake, junk)).split()[1]
    assert (await post(fake, "/v2/rooms", {}))[0] == 200


async def test_faults(fake: FakeVideoSDK) -> None:
    fake.faults.refuse["rooms"] = RefusedError(503, "tired")
    assert await post(fake, "/v2/rooms", {}) == (503, {"message": "tired"})
    fake.faults.refuse.clear()
    fake.faults.delay["rooms"] = 0.2
    began = trio.current_time()
    assert (await post(fake, "/v2/rooms", {}))[0] == 200
    assert trio.current_time() - began >= 0.2
    fake.faults.ignore.add("rooms")
    with trio.move_on_after(0.3) as scope:
        await post(fake, "/v2/rooms", {})
    assert scope.cancelled_caught


async def test_members_are_told_of_each_other(fake: FakeVideoSDK) -> None:
    async with member(fake, "one") as one, member(fake, "two", peerType="agent") as two:
        first = await request(one, "join", {"displayName": "One", "metaData": {"a": 1}})
        assert first["data"] == {"peers": [], "messages": []}
        second = await request(two, "join", {"displayName": "Two"})
        assert [peer["displayName"] for peer in second["data"]["peers"]] == ["One"]
        assert (await news(two, of("newPeer")))["data"]["metaData"] == {"a": 1}
        assert (await news(one, of("newPeer")))["data"]["peerType"] == "agent"
        await two.aclose()
        assert (await news(one, of("peerClosed")))["data"] == {"peerId": "two"}
    room = fake.room("room")
    with trio.fail_after(5):
        await room.wait_gone("one")
    assert "'room'" in repr(room)


async def test_messages_reach_subscribers(fake: FakeVideoSDK) -> None:
    async with member(fake, "one") as one, member(fake, "two") as two:
        for ws in (one, two):
            await request(ws, "join", {})
        await request(one, "pubsubSubscribe", {"topic": "chat"})
        bob = fake.room("room").add_person("bob", "Bob")
        bob.subscribe("chat")
        await request(two, "pubsubPublish", {"topic": "chat", "message": "hi", "payload": {"x": 1}})
        heard = (await news(one, of("pubsubMessage")))["data"]
        assert (heard["message"], heard["senderId"], heard["payload"]) == ("hi", "two", {"x": 1})
        assert bob.messages == [("chat", "hi")]
        bob.publish("chat", "hello")
        assert (await news(one, of("pubsubMessage")))["data"]["senderName"] == "Bob"
        assert list(fake.room("room").messages) == [("two", "chat", "hi"), ("bob", "chat", "hello")]


async def test_removing_and_ending(fake: FakeVideoSDK) -> None:
    async with member(fake, "one") as one, member(fake, "two") as two:
        for ws in (one, two):
            await request(ws, "join", {})
        bob = fake.room("room").add_person("bob")
        await request(one, "removePeer", {"peerId": "bob"})
        assert (await news(two, of("peerClosed")))["data"] == {"peerId": bob.peer_id}
        await two.send_message('{"request": true, "id": 1, "method": "closeRoom"}')
        for ws in (one, two):
            await news(ws, of("close"))


async def test_what_it_does_not_do_it_notes(fake: FakeVideoSDK) -> None:
    async with member(fake, "one") as one:
        await request(one, "join", {})
        assert (await request(one, "startTranscription", {"config": 1}))["ok"]
        noted = [("one", "startTranscription", {"config": 1})]
        assert list(fake.room("room").requests) == noted


async def test_strangers_are_not_let_in(fake: FakeVideoSDK) -> None:
    _, config = await post(fake, CONFIG, {"roomId": "room"})
    address = config["data"]["baseUrl"]
    upgrade = (
        f"GET /?roomId=room&peerId=one&secret=wrong HTTP/1.1\r\nHost: {address}\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: protoo\r\n\r\n"
    )
    host, port = address.split(":")
    # By hand, because trio-websocket forgets the socket of a connection that was rejected.
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        await stream.send_all(upgrade.encode())
        answer = b""
        with trio.fail_after(10), contextlib.suppress(trio.BrokenResourceError):
            async for data in stream:
                answer += data
    assert answer.startswith(b"HTTP/1.1 401")
    assert b"Token is invalid or expired" in answer


async def test_a_refused_request_says_why(fake: FakeVideoSDK) -> None:
    fake.faults.refuse["join"] = RefusedError(403, "full")
    async with member(fake, "one") as one:
        answer = await request(one, "join", {})
    assert (answer["ok"], answer["errorCode"], answer["errorReason"]) == (False, 403, "full")


async def test_the_port_may_be_taken(fake: FakeVideoSDK) -> None:
    with pytest.raises(PortInUseError):
        async with open_fake_videosdk(port=int(fake.signaling_base_url.split(":")[1])):
            raise AssertionError("served")


async def test_whom_to_trust_is_written_where_it_is_asked_for(tmp_path: Path) -> None:
    async with open_fake_videosdk(ca_file=tmp_path / "ca.pem") as fake:
        assert fake.ca_file.read_text().count("BEGIN CERTIFICATE") > 10  # the usual ones, too
        assert (await post(fake, "/v2/rooms", {}, token="any"))[0] == 200
    assert (tmp_path / "ca.pem").exists()


async def test_rooms_that_nobody_is_in_are_forgotten(
    fake: FakeVideoSDK, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "_MOST_ROOMS", 4)
    async with member(fake, "one") as one:
        await request(one, "join", {})
        for _ in range(20):
            await post(fake, "/v2/rooms", {})
        assert len(fake.rooms) <= 4
        assert fake.room("room").peer_ids == ("one",)


async def test_all_meetings_end(fake: FakeVideoSDK) -> None:
    async with member(fake, "one") as one, trio.open_nursery() as nursery:
        await request(one, "join", {})
        nursery.start_soon(fake.end_all)
        await news(one, of("close"))
        await one.aclose()
