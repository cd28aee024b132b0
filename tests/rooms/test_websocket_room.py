"""The room's WebSocket: its wire, its door, one client at a time, and what peers do wrong."""

from __future__ import annotations

import socket
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
import trio
import trio.testing
from trio_websocket import ConnectionRejected

from vsdk_trio._exceptions import single_errors
from vsdk_trio.errors import OptionsError, RoomError
from vsdk_trio.options.room import RoomOptions, TransportMode, WebSocketConfig
from vsdk_trio.rooms import AudioFormat, AudioFrame, ParticipantLeft, Room, open_room
from vsdk_trio.rooms.joined import JoinedRoom, open_joined_room
from vsdk_trio.rooms.loopback import tone
from vsdk_trio.rooms.websocket import wire
from vsdk_trio.rooms.websocket.transport import MOST_STRANGERS, name_in, refuse
from vsdk_trio.testing.sounds import pitch

from .contract import eventually, request, until
from .test_contract_of_websocket import on_no_network
from .websocket_client import Client, a_nursery, connect


def a_room(**options: Any) -> AbstractAsyncContextManager[JoinedRoom[Any]]:
    return open_joined_room(on_no_network, request(**options))


def plug(room: JoinedRoom[Any]) -> trio.abc.Stream:
    """A connection to the room, of which this is the other end."""
    ours, theirs = trio.testing.memory_stream_pair()
    room.transport.nursery.start_soon(room.transport.serve_stream, theirs)
    return ours


async def come_in(nursery: trio.Nursery, room: JoinedRoom[Any], **how: Any) -> Client:
    client = await connect(nursery, plug(room), **how)
    await room.wait_for_participant()
    return client


# What is said.


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"type": "hello"}', wire.ClientHello()),
        (
            '{"type": "hello", "sample_rate": 16000, "channels": 2}',
            wire.ClientHello(format=AudioFormat(16000, 2)),
        ),
        ('{"type": "message", "text": "hi"}', wire.Say(topic="chat", text="hi")),
        ('{"type": "message", "text": "hi", "topic": "t"}', wire.Say(topic="t", text="hi")),
        ('{"type": "mute"}', wire.Mute()),
        ('{"type": "dance"}', wire.IgnoredText()),
        ("{}", wire.IgnoredText()),
    ],
)
def test_what_a_client_says(text: str, said: wire.FromClient) -> None:
    assert wire.read_text(text) == said


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[]", "no JSON object"),
        ('{"type": "hello", "sample_rate": "high"}', "must be integers"),
        ('{"type": "hello", "sample_rate": true}', "must be integers"),
        ('{"type": "hello", "sample_rate": 1}', "between 1000 and 384000 .* got 1 and 1"),
        ('{"type": "hello", "channels": 3}', "channels 1 or 2, got 48000 and 3"),
        ('{"type": "message"}', "text must be a string"),
        ('{"type": "message", "text": "", "topic": 1}', "topic must be a string"),
    ],
)
def test_what_makes_no_sense(text: str, why: str) -> None:
    with pytest.raises(wire.JunkError, match=why):
        wire.read_text(text)


async def test_the_published_clients_wire(autojump_clock: trio.testing.MockClock) -> None:
    """A page made for it sends sound and nothing else, and knows `interrupt`."""
    async with a_room() as room, a_nursery() as nursery:
        client = await come_in(nursery, room, path="/ws")
        with room.audio("ws_client") as frames:
            await client.speak(440, 0.2)
            first = await anext(frames)
        assert (first.sample_rate, first.channels, first.timestamp) == (48000, 1, 0)
        assert room.participants["ws_client"].name == "Client"
        with trio.move_on_after(0.5):
            await room.play(tone(600, 5, sample_rate=24000))
        await trio.sleep(1)
        await room.send_message("not understood there")
        await room.update_metadata("nor this")
        await trio.sleep(1)
        assert client.texts == [{"type": "interrupt"}]
        assert sum(frame.seconds for frame in client.frames) < 0.8


async def test_a_client_that_says_hello_is_told_more(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with a_room() as room, a_nursery() as nursery:
        client = await come_in(nursery, room, path="/ws?name=Ann%0a")
        assert room.participants["ws_client"].name == "Ann"
        await client.send(type="hello", sample_rate=16000, channels=2)
        await eventually(lambda: client.texts, "it was welcomed")
        assert client.texts == [
            {
                "type": "welcome",
                "room_id": "room",
                "participant_id": "agent",
                "name": "Agent",
                "sample_rate": 24000,
                "channels": 1,
            }
        ]
        with room.audio("ws_client") as frames:
            await client.ws.send_message(b"\0" * 16000 * 4)  # a second of stereo, in one frame
            heard = [await anext(frames) for _ in range(50)]
        assert {(f.sample_rate, f.channels, f.samples) for f in heard} == {(16000, 2, 320)}
        assert [f.timestamp for f in heard] == list(range(0, 16000, 320))
        await room.update_metadata("busy")
        await eventually(lambda: client.of_type("metadata"), "metadata came")
        assert client.of_type("metadata") == [{"type": "metadata", "metadata": "busy"}]


async def test_a_muted_client_stops_its_stream(autojump_clock: trio.testing.MockClock) -> None:
    async with a_room() as room, a_nursery() as nursery:
        client = await come_in(nursery, room)
        events = room.events()
        await client.speak(440, 0.1)
        await client.send(type="mute")
        await client.speak(440, 0.1)
        names = [type(await anext(events)).__name__ for _ in range(5)]
        assert names[2:] == ["StreamStarted", "StreamStopped", "StreamStarted"]


# What goes wrong.


async def test_junk_is_counted_and_costs_nothing(autojump_clock: trio.testing.MockClock) -> None:
    async with a_room() as room, a_nursery() as nursery:
        client = await come_in(nursery, room)
        await client.send(type="hello")
        for junk in (b"odd", b"", "no json", '{"type": "message"}'):
            await client.ws.send_message(junk)
        await client.send(type="whatever")
        await eventually(lambda: room.counts.junk_dropped == 4, "junk was counted")
        await eventually(lambda: len(client.of_type("error")) == 2, "it was told")
        assert [e["error"] for e in client.of_type("error")] == [
            "no JSON",
            "text must be a string",
        ]
        with room.audio("ws_client") as frames:
            await client.speak(440, 0.4)
            assert pitch([await anext(frames) for _ in range(10)]) == pytest.approx(440, rel=0.05)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /ws HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
        b"GET /ws HTTP/1.1\r\nHost: \xff\xff\r\nUpgrade: websocket\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # somebody tries TLS
        b"\0" * 100_000,
        b"",
    ],
)
async def test_what_is_no_websocket_is_closed(
    data: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    async with a_room() as room, a_nursery() as nursery:
        stranger = plug(room)
        await stranger.send_all(data)
        started = trio.current_time()
        with trio.fail_after(60):
            try:
                while await stranger.receive_some():
                    pass
            except trio.BrokenResourceError:
                pass
        assert trio.current_time() - started <= 13
        client = await come_in(nursery, room)  # and others can come in
        assert client.close_code == 0


@pytest.mark.parametrize(
    "frame",
    [
        b"\x83\x80\0\0\0\0",  # an opcode that there is none of
        b"\x82\x03abc",  # not masked
        b"\x82\xff\x00\x00\x00\x01\x00\x00\x00\x00" + b"\0" * 5000,  # 4 GB announced
        b"\x81\x82\0\0\0\0\xff\xff",  # text that is no text
        b"\x88\x81\0\0\0\0\0",  # a close frame with half a code
    ],
)
async def test_frames_that_break_the_protocol_end_the_visit(
    frame: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    async with a_room(session_timeout_seconds=1000) as room, a_nursery() as nursery:
        client = await come_in(nursery, room)
        events = room.events()
        await client.stream.send_all(frame)
        await until(events, ParticipantLeft, 60)  # with half a frame, when no pong comes
        await come_in(nursery, room)


async def test_a_frame_that_is_too_long_ends_the_visit(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with a_room(session_timeout_seconds=1000) as room, a_nursery() as nursery:
        client = await come_in(nursery, room)
        events = room.events()
        await client.ws.send_message(b"\0" * (wire.MOST_BYTES + 2))
        await until(events, ParticipantLeft)
        await eventually(lambda: client.close_code == 1009, "it was told why")
        await come_in(nursery, room)


async def test_a_client_that_does_not_read_is_let_go(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Speech waits for it, then goes on to nobody."""
    async with a_room(session_timeout_seconds=None) as room, a_nursery() as nursery:
        ours, theirs = trio.testing.lockstep_stream_pair()  # takes nothing that is not read
        room.transport.nursery.start_soon(room.transport.serve_stream, theirs)
        upgrade = (
            b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        await ours.send_all(upgrade)
        assert b"101" in await ours.receive_some(10_000)
        await room.wait_for_participant()
        started = trio.current_time()
        await room.play(tone(440, 3))
        assert room.participants == {}
        assert 10 <= trio.current_time() - started < 15
        await come_in(nursery, room)


async def test_a_half_open_client_is_found_out(autojump_clock: trio.testing.MockClock) -> None:
    async with a_room(session_timeout_seconds=None) as room, a_nursery() as nursery:
        client = await come_in(nursery, room)
        client.is_forgotten = True
        events = room.events()
        nursery.cancel_scope.cancel()  # it answers nothing any more
        started = trio.current_time()
        with trio.CancelScope(shield=True):
            await until(events, ParticipantLeft, 100)
        assert 15 <= trio.current_time() - started <= 26


async def test_one_client_at_a_time(autojump_clock: trio.testing.MockClock) -> None:
    async with a_nursery() as nursery, a_room(session_timeout_seconds=60) as room:
        first = await come_in(nursery, room)
        second = await connect(nursery, plug(room))
        await eventually(lambda: second.close_code, "the second was told")
        assert (second.close_code, second.close_reason) == (
            1013,
            "another client is connected to this agent",
        )
        assert first.close_code == 0
        assert set(room.participants) == {"ws_client"}
        await first.leave()
        await eventually(lambda: not room.participants, "the first was gone")
        third = await come_in(nursery, room)
        await room.play(tone(500, 0.2))
        assert third.frames
        await room.leave()
        await eventually(lambda: third.close_code == 1000, "it was told of the end")


async def test_who_comes_after_the_end_is_told(autojump_clock: trio.testing.MockClock) -> None:
    async with a_room(no_participant_timeout_seconds=1) as room, a_nursery() as nursery:
        await room.wait_ended()
        late = await connect(nursery, plug(room))
        await eventually(lambda: late.close_code, "it was told")
        assert (late.close_code, late.close_reason) == (1001, "the session has ended")
        assert room.participants == {}


async def test_those_who_say_nothing_are_few(autojump_clock: trio.testing.MockClock) -> None:
    async with a_room() as room, a_nursery() as nursery:
        silent = [plug(room) for _ in range(MOST_STRANGERS)]
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BrokenResourceError):
            await one_more(room)
        await trio.sleep(15)
        assert await silent[0].receive_some() == b""
        await come_in(nursery, room)


async def one_more(room: JoinedRoom[Any]) -> None:
    stream = plug(room)
    await trio.testing.wait_all_tasks_blocked()
    await stream.send_all(b"x")


# Who may come in.


@pytest.mark.parametrize(
    ("path", "host", "origin", "origins", "status"),
    [
        ("/ws", "127.0.0.1:8080", None, [], None),
        ("/ws?name=Ann", "anything", None, [], None),
        ("/", "127.0.0.1", None, [], 404),
        ("/ws/", "127.0.0.1", None, [], 404),
        ("/ws", "127.0.0.1:8080", "http://localhost:8000", [], None),
        ("/ws", "localhost:8080", "http://127.0.0.1", [], None),
        ("/ws", "[::1]:8080", "http://[::1]:3000", [], None),
        ("/ws", "192.168.1.5:8080", "http://192.168.1.5:8000", [], None),
        ("/ws", "192.168.1.5:8080", "http://192.168.1.6:8000", [], 403),
        ("/ws", "127.0.0.1:8080", "https://evil.example", [], 403),
        ("/ws", "evil.example:8080", "http://evil.example:8080", [], 403),  # DNS rebinding
        ("/ws", "evil.example:8080", "http://localhost:8080", [], 403),
        ("/ws", "127.0.0.1:8080", "null", [], 403),
        ("/ws", "127.0.0.1:8080", "http://[", [], 403),
        ("/ws", "127.0.0.1:8080", "null", ["null"], None),
        ("/ws", "agent.example", "https://Example.com", ["https://example.com/"], None),
        ("/ws", "agent.example", "https://example.com.evil", ["https://example.com"], 403),
        ("/ws", "agent.example", "https://anywhere.example", ["*"], None),
    ],
)
def test_who_may_come_in(
    path: str, host: str, origin: str | None, origins: list[str], status: int | None
) -> None:
    denial = refuse(path, host=host, origin=origin, wanted_path="/ws", origins=origins)
    assert (denial and denial.status) == status


def test_a_name_is_made_fit_to_be_shown() -> None:
    assert name_in("/ws") == name_in("/ws?name=") == name_in("/ws?other=1") == ""
    assert name_in("/ws?name=A%1b[31mnn") == "A [31mnn"
    assert len(name_in("/ws?name=" + "a" * 5000)) == 100


async def test_a_page_from_elsewhere_is_refused(autojump_clock: trio.testing.MockClock) -> None:
    async with a_room() as room, a_nursery() as nursery:
        with pytest.raises(ConnectionRejected) as caught, single_errors():
            async with trio.open_nursery() as strict:
                await connect(strict, plug(room), origin="https://evil.example")
        refusal = caught.value
        assert refusal.status_code == 403
        assert refusal.body is not None
        assert b"pages from https://evil.example may not connect" in refusal.body
        await come_in(nursery, room, origin="http://localhost:8000")


# Real sockets.


async def join_by_port(nursery: trio.Nursery, room: Room) -> Client:
    port = int(room.address.rpartition(":")[2].partition("/")[0])
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    client = await connect(nursery, stream)
    with trio.fail_after(10):
        await room.wait_for_participant()
    return client


def real(**config: Any) -> AbstractAsyncContextManager[Room]:
    return open_room(TransportMode.WEBSOCKET, request(websocket=WebSocketConfig(**config)))


@pytest.mark.real
async def test_sound_goes_both_ways_on_a_port_of_its_choice() -> None:
    async with a_nursery() as nursery, real(port=0) as room:
        assert room.address.startswith("ws://127.0.0.1:")
        assert room.address.endswith("/ws")
        client = await join_by_port(nursery, room)
        nursery.start_soon(room.play, room.audio("ws_client"))  # an echo is one line
        await client.speak(440, 0.8)
        await eventually(lambda: len(client.frames) > 25, "it came back")
        assert pitch(client.frames) == pytest.approx(440, rel=0.03)
        await room.leave()
        await eventually(lambda: client.close_code == 1000, "it was told of the end")


@pytest.mark.real
async def test_a_port_that_is_taken_is_said() -> None:
    async with real(port=0) as room:
        port = int(room.address.rpartition(":")[2].partition("/")[0])
        with pytest.raises(RoomError, match=rf"127.0.0.1:{port}: the port is taken.*port=0"):
            async with real(port=port):
                pytest.fail("not reached")
    async with real(port=port):  # and is free again at once
        pass


@pytest.mark.real
async def test_a_host_that_is_not_ours_is_said() -> None:
    with pytest.raises(RoomError, match=r"cannot listen on 203.0.113.1:0"):
        async with real(port=0, host="203.0.113.1"):
            pytest.fail("not reached")


@pytest.mark.real
async def test_a_reset_connection_is_a_client_that_left() -> None:
    async with real(port=0) as room, a_nursery() as nursery:
        client = await join_by_port(nursery, room)
        events = room.events()
        assert isinstance(client.stream, trio.SocketStream)
        linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
        client.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        await client.cut()
        await until(events, ParticipantLeft)


def test_options_of_the_websocket_are_checked() -> None:
    for wrong, text in (
        ({"port": 70000}, "port must be 0 to 65535, got 70000"),
        ({"path": "ws"}, "path must start with '/'"),
        ({"path": "/ws?x"}, "and have no '\\?'"),
        ({"host": 1}, "host must be str, got int"),
        ({"origins": "https://x"}, "origins must be list, got str"),
        ({"origins": [1]}, "origins must be a list of str"),
    ):
        with pytest.raises(OptionsError, match=text):
            WebSocketConfig(**wrong)
    merged, unknown = RoomOptions().merged({"websocket": {"port": 0, "origins": ["*"], "tls": 1}})
    assert merged.websocket == WebSocketConfig(port=0, origins=["*"])
    assert unknown == ("websocket.tls",)


def test_frames_are_checked() -> None:
    with pytest.raises(ValueError, match="3 bytes are no whole number of 16-bit samples of 2 chan"):
        AudioFrame(data=b"abc", sample_rate=48000, channels=2)
