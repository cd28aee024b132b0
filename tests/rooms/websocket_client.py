"""A client of the room's WebSocket, as a page is one: for the contract, and for what breaks it."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream

from vsdk_trio.rooms import AudioFrame
from vsdk_trio.rooms.loopback import tone


class Client:
    """`frames` is the sound it got, `texts` the text frames."""

    participant_id = "ws_client"

    def __init__(self, ws: WebSocketConnection, stream: trio.abc.Stream) -> None:
        self.ws = ws
        self.stream = stream
        self.frames: list[AudioFrame] = []
        self.texts: list[dict[str, Any]] = []
        self.is_forgotten = False
        self.close_code = 0
        self.close_reason: str | None = None

    @property
    def heard(self) -> Sequence[AudioFrame]:
        return self.frames

    @property
    def messages(self) -> list[tuple[str, str]]:
        return [(t["topic"], t["text"]) for t in self.texts if t["type"] == "message"]

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        return [text for text in self.texts if text["type"] == kind]

    async def listen(self) -> None:
        try:
            while True:
                data = await self.ws.get_message()
                if isinstance(data, bytes):
                    self.frames.append(AudioFrame(data=data, sample_rate=24000))
                else:
                    self.texts.append(json.loads(data))
        except ConnectionClosed as closed:
            self.close_code = closed.reason.code
            self.close_reason = closed.reason.reason
        finally:
            if not self.is_forgotten:  # trio-websocket leaves it open where the server closes
                with trio.CancelScope(shield=True):
                    await trio.aclose_forcefully(self.stream)

    async def send(self, **fields: Any) -> None:
        await self.ws.send_message(json.dumps(fields))

    async def speak(self, frequency: float, seconds: float) -> None:
        for frame in tone(frequency, seconds):
            await self.ws.send_message(frame.data)
            await trio.sleep(frame.seconds)

    async def send_message(self, text: str, topic: str) -> None:
        await self.send(type="message", topic=topic, text=text)

    async def leave(self) -> None:
        await self.ws.aclose()

    async def cut(self) -> None:
        await trio.aclose_forcefully(self.stream)


async def connect(
    nursery: trio.Nursery,
    stream: trio.abc.Stream,
    *,
    host: str = "127.0.0.1:8080",
    path: str = "/ws?name=Ann",
    origin: str | None = None,
) -> Client:
    """A client on a stream whose other end is the room's."""
    headers = [] if origin is None else [(b"Origin", origin.encode())]
    ws = await wrap_client_stream(nursery, stream, host, path, extra_headers=headers)
    client = Client(ws, stream)
    nursery.start_soon(client.listen)
    return client


@asynccontextmanager
async def a_nursery() -> AsyncGenerator[trio.Nursery, None]:
    """One whose tasks end with the block."""
    async with trio.open_nursery() as nursery:
        yield nursery
        nursery.cancel_scope.cancel()
