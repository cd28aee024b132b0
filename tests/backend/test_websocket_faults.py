"""The contract with trio-websocket: one test for each known fault, at the guarded link.

When a new release of trio-websocket changes something here, these tests say what.
"""

from __future__ import annotations

import ssl

import pytest
import trio
import trio.testing
import trustme

from vsdk_trio.backend.websocket import ConnectRejected, open_link
from vsdk_trio.errors import ConnectError
from vsdk_trio.testing.raw_websocket import (
    CLOSE,
    PING,
    TEXT,
    accept_upgrade,
    close_frame,
    frame,
    read_head,
)
from vsdk_trio.websocket.link import LinkLost

URL = "ws://registry.test/agent"


async def _drain(stream: trio.abc.ReceiveStream) -> bytes:
    seen = b""
    try:
        async for chunk in stream:
            seen += chunk
    except trio.BrokenResourceError:
        pass
    return seen


async def test_1_a_silent_server_costs_the_connect_timeout(autojump_clock, dialer_to):
    async def silent(stream):
        await trio.sleep_forever()

    started = trio.current_time()
    with pytest.raises(ConnectError, match="in time"):
        async with open_link(URL, dialer=dialer_to(silent), connect_timeout=3):
            pytest.fail("not reached")
    assert trio.current_time() - started == 3


async def test_1_a_dial_that_hangs_costs_the_connect_timeout(autojump_clock, dialer_to):
    dialer = dialer_to(_drain)
    dialer.is_silent = True
    started = trio.current_time()
    with pytest.raises(ConnectError, match="within 3 s"):
        async with open_link(URL, dialer=dialer, connect_timeout=3):
            pytest.fail("not reached")
    assert trio.current_time() - started == 3


async def test_2_a_bad_certificate_is_said_at_once(autojump_clock, dialer_to):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("registry.test").configure_cert(context)

    async def tls_server(stream):
        tls = trio.SSLStream(stream, context, server_side=True)
        with pytest.raises(trio.BrokenResourceError):
            await tls.do_handshake()

    started = trio.current_time()
    with pytest.raises(ConnectError, match="certificate is not accepted"):
        async with open_link("wss://registry.test/agent", dialer=dialer_to(tls_server)):
            pytest.fail("not reached")
    assert trio.current_time() == started


async def test_2_a_close_in_the_tls_handshake_is_said_at_once(autojump_clock, dialer_to):
    async def closes(stream):
        await stream.receive_some()

    started = trio.current_time()
    with pytest.raises(ConnectError, match=r"TLS with registry\.test failed: it closed"):
        async with open_link("wss://registry.test/agent", dialer=dialer_to(closes)):
            pytest.fail("not reached")
    assert trio.current_time() == started


async def test_2_a_silent_tls_peer_costs_the_connect_timeout(autojump_clock, dialer_to):
    ended = trio.Event()

    async def silent(stream):
        await _drain(stream)
        ended.set()

    with pytest.raises(ConnectError, match="within 3 s"):
        async with open_link("wss://registry.test/", dialer=dialer_to(silent), connect_timeout=3):
            pytest.fail("not reached")
    await ended.wait()


async def test_2_plain_text_from_a_tls_port_is_said(autojump_clock, dialer_to):
    async def plain(stream):
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with pytest.raises(ConnectError, match="does not speak TLS"):
        async with open_link("wss://registry.test/", dialer=dialer_to(plain)):
            pytest.fail("not reached")


async def test_3_a_ping_after_our_close_breaks_nothing(autojump_clock, dialer_to):
    async def pings_late(stream):
        await accept_upgrade(stream)
        await stream.receive_some()  # our close frame
        await stream.send_all(frame(PING))
        await stream.send_all(close_frame(1000))
        await _drain(stream)

    started = trio.current_time()
    async with open_link(URL, dialer=dialer_to(pings_late)):
        pass
    # Nothing leaked: a stray cancellation would end this test here.
    await trio.sleep(1)
    assert trio.current_time() - started <= 1.5


@pytest.mark.parametrize("count", [1, 2])
async def test_4_oversize_messages_end_the_link_and_the_socket(autojump_clock, dialer_to, count):
    ended = trio.Event()

    async def talkative(stream):
        await accept_upgrade(stream)
        await stream.send_all(b"".join(frame(TEXT, b"a" * 2000) for _ in range(count)))
        await _drain(stream)
        ended.set()

    async with open_link(URL, dialer=dialer_to(talkative), max_message_bytes=1000) as link:
        with pytest.raises(LinkLost):
            await link.receive()
    await ended.wait()


async def test_5_a_ping_on_a_dying_link_ends(autojump_clock, dialer_to):
    async def dies(stream):
        await accept_upgrade(stream)
        await stream.receive_some()

    async with open_link(URL, dialer=dialer_to(dies)) as link:
        with pytest.raises(LinkLost):
            await link.ping()
        with pytest.raises(LinkLost):
            await link.ping()


async def test_6_a_slow_consumer_does_not_stop_the_pongs(autojump_clock, dialer_to):
    async def server(stream):
        await accept_upgrade(stream)
        for _ in range(100):
            await stream.send_all(frame(TEXT, b"x"))
        data = await stream.receive_some()
        payload = bytes(byte ^ data[2 + i % 4] for i, byte in enumerate(data[6:10]))
        await stream.send_all(frame(10, payload))
        await _drain(stream)

    async with open_link(URL, dialer=dialer_to(server), goodbye_timeout=0.1) as link:
        with trio.fail_after(1):
            await link.ping()


async def test_7_a_cut_send_costs_the_link_not_the_next_message(autojump_clock, dialer_to):
    async def slow_reader(stream):
        await accept_upgrade(stream)
        await trio.sleep_forever()

    dialer = dialer_to(slow_reader)
    blocking = _BlockingAfterUpgrade(dialer)
    async with open_link(URL, dialer=blocking) as link:
        with trio.move_on_after(1) as scope:
            await link.send("a" * 1000)
        assert scope.cancelled_caught
        assert not link.is_usable
        with pytest.raises(LinkLost, match="cut off"):
            await link.send("b")
    assert blocking.sent_after_block == 1


async def test_8_a_peer_silent_on_close_costs_the_goodbye_timeout(autojump_clock, dialer_to):
    async def silent(stream):
        await accept_upgrade(stream)
        await trio.sleep_forever()

    async with open_link(URL, dialer=dialer_to(silent), goodbye_timeout=2):
        started = trio.current_time()
    assert trio.current_time() - started == 2


async def test_9_a_cancelled_client_says_goodbye(autojump_clock, dialer_to):
    seen: list[bytes] = []

    async def server(stream):
        await accept_upgrade(stream)
        seen.append(await stream.receive_some())
        await stream.send_all(close_frame(1000))
        await _drain(stream)

    started = trio.current_time()
    with trio.move_on_after(5) as scope:
        async with open_link(URL, dialer=dialer_to(server)):
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert trio.current_time() - started == 5
    assert seen[0][0] == 0x80 | CLOSE


async def test_10_an_ipv6_host_is_bracketed(autojump_clock, dialer_to):
    heads: list[bytes] = []

    async def server(stream):
        heads.append(await accept_upgrade(stream))
        await stream.send_all(close_frame(1000))
        await _drain(stream)

    async with open_link("ws://[::1]:8080/agent?a=b", dialer=dialer_to(server)) as link:
        with pytest.raises(LinkLost):
            await link.receive()
    assert b"Host: [::1]:8080\r\n" in heads[0]
    assert heads[0].startswith(b"GET /agent?a=b HTTP/1.1")


async def test_13_the_socket_is_closed_after_a_remote_close(autojump_clock, dialer_to):
    ended = trio.Event()

    async def server(stream):
        await accept_upgrade(stream)
        await stream.send_all(close_frame(4001, "go away"))
        await _drain(stream)
        ended.set()

    async with open_link(URL, dialer=dialer_to(server)) as link:
        with pytest.raises(LinkLost, match="4001: go away") as caught:
            await link.receive()
        assert (caught.value.code, caught.value.reason) == (4001, "go away")
        with pytest.raises(LinkLost):
            await link.send("too late")
    await ended.wait()


REJECTIONS = {
    b"HTTP/1.1 401 x\r\nContent-Length: 3\r\n\r\nbad": (401, "bad", None),
    b"HTTP/1.1 503 x\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n": (503, "", 7.0),
    b"HTTP/1.1 302 x\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n": (302, "points to /b", None),
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi": (200, "hi", None),
    # Without a length: trio-websocket forgets the status when the connection ends.
    b"HTTP/1.1 403 x\r\n\r\nno such worker": (403, "", None),
}


@pytest.mark.parametrize("answer", REJECTIONS)
async def test_a_rejection_tells_its_status(autojump_clock, dialer_to, answer):
    async def server(stream):
        await read_head(stream)
        await stream.send_all(answer)

    status, detail, retry_after = REJECTIONS[answer]
    with pytest.raises(ConnectRejected) as caught:
        async with open_link(URL, dialer=dialer_to(server)):
            pytest.fail("not reached")
    assert detail in str(caught.value)
    assert (caught.value.status, caught.value.retry_after) == (status, retry_after)


async def test_a_rejection_without_end_tells_its_status(autojump_clock, dialer_to):
    async def server(stream):
        await read_head(stream)
        await stream.send_all(b"HTTP/1.1 403 x\r\n\r\nno end")
        await trio.sleep_forever()

    with pytest.raises(ConnectRejected) as caught:
        async with open_link(URL, dialer=dialer_to(server), connect_timeout=1):
            pytest.fail("not reached")
    assert caught.value.status == 403


JUNK = {
    "closed": b"",
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n",
    "a wrong key": b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: bad\r\n\r\n",
    "no http": bytes(range(256)) * 4,
}


@pytest.mark.parametrize("kind", JUNK)
async def test_junk_instead_of_an_upgrade_is_one_error(autojump_clock, dialer_to, kind):
    async def server(stream):
        await read_head(stream)
        if JUNK[kind]:
            await stream.send_all(JUNK[kind])

    started = trio.current_time()
    with pytest.raises(ConnectError, match=r"registry\.test"):
        async with open_link(URL, dialer=dialer_to(server)):
            pytest.fail("not reached")
    assert trio.current_time() == started


FRAMES = {
    "bad opcode": frame(3),
    "bad utf-8": frame(TEXT, b"\xff\xfe"),
    "masked by a server": b"\x81\x80abcd",
    "reserved bits": b"\xf1\x00",
    "fragmented ping": frame(PING, final=False),
    "bad close code": close_frame(999),
    "truncated close": frame(CLOSE, b"\x03"),
}


@pytest.mark.parametrize("kind", FRAMES)
async def test_frames_that_break_the_rules_end_the_link(autojump_clock, dialer_to, kind):
    async def server(stream):
        await accept_upgrade(stream)
        await stream.send_all(FRAMES[kind])
        await _drain(stream)

    async with open_link(URL, dialer=dialer_to(server), goodbye_timeout=1) as link:
        with trio.fail_after(5), pytest.raises(LinkLost):
            await link.receive()


async def test_the_exception_of_the_block_comes_out_as_it_is(autojump_clock, dialer_to):
    async def server(stream):
        await accept_upgrade(stream)
        await trio.sleep_forever()

    with pytest.raises(KeyError, match="mine"):
        async with open_link(URL, dialer=dialer_to(server), goodbye_timeout=0.1):
            raise KeyError("mine")


async def test_a_condemned_link_says_no_goodbye(autojump_clock, dialer_to):
    async def server(stream):
        await accept_upgrade(stream)
        await trio.sleep_forever()

    started = trio.current_time()
    with pytest.raises(LinkLost, match="no pong"):
        async with open_link(URL, dialer=dialer_to(server)) as link:
            raise link.condemn("no pong")
    assert trio.current_time() == started


class _BlockingAfterUpgrade:
    """A dialer whose stream never finishes a send after the upgrade, like a full socket."""

    def __init__(self, dialer):
        self._dialer = dialer
        self.sent_after_block = 0

    async def dial(self, host, port):
        stream = await self._dialer.dial(host, port)
        real = stream.send_stream
        outer = self

        class Blocking(trio.abc.SendStream):
            upgraded = False

            async def send_all(self, data):
                if self.upgraded:
                    outer.sent_after_block += 1
                    await trio.sleep_forever()
                self.upgraded = True
                await real.send_all(data)

            async def wait_send_all_might_not_block(self):
                await trio.lowlevel.checkpoint()

            async def aclose(self):
                await real.aclose()

        return trio.StapledStream(Blocking(), stream.receive_stream)


async def test_7_a_cut_ping_costs_the_link_too(autojump_clock, dialer_to):
    async def slow_reader(stream):
        await accept_upgrade(stream)
        await trio.sleep_forever()

    blocking = _BlockingAfterUpgrade(dialer_to(slow_reader))
    async with open_link(URL, dialer=blocking) as link:
        with trio.move_on_after(1) as scope:
            await link.ping()
        assert scope.cancelled_caught
        assert not link.is_usable
        with pytest.raises(LinkLost, match="cut off"):
            await link.send("b")
    assert blocking.sent_after_block == 1


class _Interrupted(BaseException):
    pass


class _Failing(trio.abc.ReceiveStream):
    """Raises an error one second after the upgrade."""

    def __init__(self, real, error):
        self._real = real
        self._error = error
        self._is_upgraded = False

    async def receive_some(self, max_bytes=None):
        if self._is_upgraded:
            await trio.sleep(1)
            raise self._error
        self._is_upgraded = True
        return await self._real.receive_some(max_bytes)

    async def aclose(self):
        await self._real.aclose()


class _FailingDialer:
    def __init__(self, dialer, error):
        self._dialer = dialer
        self._error = error

    async def dial(self, host, port):
        stream = await self._dialer.dial(host, port)
        return trio.StapledStream(stream.send_stream, _Failing(stream.receive_stream, self._error))


@pytest.mark.parametrize("wait", ["receive", "ping"])
async def test_a_crash_of_the_reader_is_a_lost_link(autojump_clock, dialer_to, wait):
    dialer = _FailingDialer(dialer_to(_accept_and_stay), ValueError("odd"))
    async with open_link(URL, dialer=dialer) as link:
        with pytest.raises(LinkLost, match="odd"):
            await getattr(link, wait)()
        assert not link.is_usable


async def test_an_interrupt_beside_an_error_is_kept(autojump_clock, dialer_to):
    dialer = _FailingDialer(dialer_to(_accept_and_stay), _Interrupted())

    async def fail_when_interrupted() -> None:
        async with open_link(URL, dialer=dialer):
            try:
                await trio.sleep_forever()
            finally:
                raise KeyError("mine")

    with pytest.raises(BaseExceptionGroup) as caught:
        await fail_when_interrupted()
    assert {type(error) for error in caught.value.exceptions} == {_Interrupted, KeyError}


async def _accept_and_stay(stream):
    await accept_upgrade(stream)
    await trio.sleep_forever()
