"""The server's half of a WebSocket by hand, byte for byte, for peers that break the rules.

Must not use a WebSocket library: those refuse to send what a test of bad input needs.
"""

from __future__ import annotations

import base64
import hashlib
import struct

import trio.abc

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


async def read_head(stream: trio.abc.ReceiveStream) -> bytes:
    """Read up to the end of an HTTP request's header."""
    head = b""
    while b"\r\n\r\n" not in head:
        chunk = await stream.receive_some()
        if not chunk:
            raise EOFError("the peer closed before the end of its request")
        head += chunk
    return head


async def accept_upgrade(stream: trio.abc.Stream) -> bytes:
    """Read the upgrade request, switch to WebSocket; return the request."""
    head = await read_head(stream)
    fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
    key = {name.lower(): value for name, value in fields.items()}[b"sec-websocket-key"]
    answer = base64.b64encode(hashlib.sha1(key + _GUID).digest())
    await stream.send_all(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + answer + b"\r\n\r\n"
    )
    return head


def frame(opcode: int, payload: bytes = b"", *, final: bool = True) -> bytes:
    """One unmasked frame, as servers send them."""
    head = bytes([opcode | (0x80 if final else 0)])
    if len(payload) < 126:
        return head + bytes([len(payload)]) + payload
    if len(payload) < 1 << 16:
        return head + b"\x7e" + struct.pack("!H", len(payload)) + payload
    return head + b"\x7f" + struct.pack("!Q", len(payload)) + payload


def close_frame(code: int, reason: str = "") -> bytes:
    """A close frame with a code."""
    return frame(CLOSE, struct.pack("!H", code) + reason.encode())
