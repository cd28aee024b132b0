"""The connection over real sockets of 127.0.0.1, in real time."""

from __future__ import annotations

import socket
import ssl
import struct
import sys

import pytest
import trio
import trustme

from vsdk_trio.backend import BackendConnection, JobUpdate, SessionLost
from vsdk_trio.errors import RegistryUnreachableError
from vsdk_trio.testing import open_fake_registry
from vsdk_trio.testing.raw_websocket import accept_upgrade, read_head

pytestmark = pytest.mark.real


def connection_to(port: int, scheme: str = "ws", **options) -> BackendConnection:
    return BackendConnection(
        "token", "agent", backend_url=f"{scheme}://127.0.0.1:{port}", **options
    )


async def test_a_session_over_tcp(serve):
    async with open_fake_registry() as registry:
        port = await serve(registry.serve_stream)
        async with connection_to(port) as connection:
            connection.post(JobUpdate(job_id="a", status="completed"))
        session = await registry.next_session()
        assert session.types == ["register", "job_update", "ping", "status_update"]
        assert await session.wait_closed() == 1000


async def test_a_session_over_tls_with_an_own_ca(serve):
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    client = ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    async with open_fake_registry() as registry:
        port = await serve(registry.serve_stream, server)
        async with connection_to(port, "wss", ssl_context=client) as connection:
            assert connection.is_connected
        assert await registry.sessions[0].wait_closed() == 1000
        with trio.fail_after(2), pytest.raises(RegistryUnreachableError, match="certificate"):
            async with connection_to(port, "wss", max_retry=0):
                pytest.fail("not reached")


async def test_a_reset_is_a_lost_session(serve):
    async def resets(stream) -> None:
        await accept_upgrade(stream)
        await stream.receive_some()
        text = b'{"type": "register", "success": true, "worker_id": "w"}'
        await stream.send_all(bytes([0x81, len(text)]) + text)
        await trio.sleep(0.05)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stream.socket.close()

    port = await serve(resets)
    connection = connection_to(port, max_retry=0)
    with trio.fail_after(5), pytest.raises(RegistryUnreachableError, match="1006"):
        await connection.connect()
    assert [type(event) async for event in connection][-1] is SessionLost
    assert connection.worker_id == "w"


async def _silent(stream) -> None:
    await trio.sleep_forever()


async def _closes(stream) -> None:
    await stream.aclose()


async def _junk(stream) -> None:
    await read_head(stream)
    await stream.send_all(b"\x00\x01\x02 what?\r\n\r\n")


@pytest.mark.parametrize(
    ("peer", "match"),
    [(_silent, "in time"), (_closes, "closed|broke"), (_junk, "like a WebSocket server|closed")],
)
async def test_peers_that_are_no_registry(serve, peer, match):
    port = await serve(peer)
    with trio.fail_after(5), pytest.raises(RegistryUnreachableError, match=match):
        await connection_to(port, max_retry=0, connect_timeout=0.3).connect()


async def test_a_port_where_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with trio.fail_after(5), pytest.raises(RegistryUnreachableError, match="cannot connect"):
        await connection_to(port, max_retry=1).connect()


async def test_init_config_leads_to_the_registry(serve):
    async with open_fake_registry() as registry:
        port = await serve(registry.serve_stream)
        body = f'{{"success": true, "data": {{"registryUrl": "http://127.0.0.1:{port}/p"}}}}'

        async def api(stream) -> None:
            head = await read_head(stream)
            assert b"Authorization: token" in head
            await stream.send_all(
                f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
            )

        api_port = await serve(api)
        async with BackendConnection("token", signaling_base_url=f"http://127.0.0.1:{api_port}"):
            assert registry.sessions[0].path == "/p/agent"


@pytest.mark.parametrize("status", [401, 403])
async def test_init_config_refuses(serve, status):
    from vsdk_trio.errors import RegistrationRefusedError

    async def api(stream) -> None:
        await read_head(stream)
        await stream.send_all(
            f"HTTP/1.1 {status} no\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
        )

    port = await serve(api)
    with trio.fail_after(5), pytest.raises(RegistrationRefusedError, match=str(status)):
        await BackendConnection("token", signaling_base_url=f"http://127.0.0.1:{port}").connect()


async def test_init_config_is_silent(serve):
    port = await serve(_silent)
    connection = BackendConnection(
        "token", signaling_base_url=f"http://127.0.0.1:{port}", connect_timeout=0.2, max_retry=0
    )
    with trio.fail_after(5), pytest.raises(RegistryUnreachableError, match="init-config did not"):
        await connection.connect()


PROGRAM = """
import sys, trio
import vsdk_trio.backend
light = {"trio", "cattrs", "orjson", "trio_websocket", "httpcore"} & set(sys.modules)
assert light <= LOADED, light
from vsdk_trio.backend import BackendConnection, open_backend_connection
async def main():
    connection = BackendConnection("t", backend_url="ws://127.0.0.1:9", max_retry=0)
    try:
        await connection.connect()
    except Exception as error:
        print(type(error).__name__)
trio.run(main)
heavy = {"httpcore", "python_socks", "certifi"} & set(sys.modules)
assert not heavy, heavy
""".replace("LOADED", "{'trio'}")


async def test_only_what_is_needed_is_imported():
    done = await trio.run_process([sys.executable, "-c", PROGRAM], capture_stdout=True)
    assert done.stdout.strip() == b"RegistryUnreachableError"
