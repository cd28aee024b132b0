"""Creating a room over REST, against a real HTTP server on 127.0.0.1."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import trio

from vsdk_trio.errors import ApiError
from vsdk_trio.rooms import rest

from ..http_answers import Handler, Serve, answering, serving

pytestmark = pytest.mark.real


@pytest.fixture
def serve() -> Iterator[Serve]:
    with serving() as start:
        yield start


async def test_a_room_is_created(serve: Serve) -> None:
    seen: list[tuple[str, str | None]] = []

    def answer(handler: Handler) -> None:
        seen.append((handler.path, handler.headers["Authorization"]))
        answering(200, b'{"roomId": "abcd-efgh"}')(handler)

    url = serve(answer)
    assert await rest.create_room("s3cret", url + "/") == "abcd-efgh"
    assert seen == [("/v2/rooms", "s3cret")]


@pytest.mark.parametrize(
    ("status", "body"), [(200, b"{}"), (200, b"[]"), (200, b"<html>"), (200, b'{"roomId": ""}')]
)
async def test_junk_is_an_error(serve: Serve, status: int, body: bytes) -> None:
    with pytest.raises(ApiError, match="answered without a roomId"):
        await rest.create_room("t", serve(answering(status, body)))


async def test_a_refusal_carries_its_status(serve: Serve) -> None:
    with pytest.raises(ApiError, match="answered 401") as caught:
        await rest.create_room("s3cret", serve(answering(401, b"{}")))
    assert caught.value.status == 401
    assert "s3cret" not in str(caught.value)


async def test_the_token_does_not_follow_a_redirect(serve: Serve) -> None:
    followed: list[str] = []
    other = serve(lambda handler: followed.append(handler.path))
    with pytest.raises(ApiError, match="answered 302"):
        await rest.create_room("t", serve(answering(302, b"", location=other)))
    assert followed == []


async def test_nobody_answers() -> None:
    with pytest.raises(ApiError, match=r"cannot create a room at http://127.0.0.1:1/v2/rooms"):
        await rest.create_room("t", "http://127.0.0.1:1")


async def test_a_token_that_cannot_be_a_header_is_not_quoted() -> None:
    with pytest.raises(ApiError, match="ValueError") as caught:
        await rest.create_room("s3cret\nx", "http://127.0.0.1:1")
    assert "s3cret" not in str(caught.value)


async def test_a_silent_server_costs_a_bounded_time(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()
    monkeypatch.setattr(rest, "REQUEST_SECONDS", 0.05)
    url = serve(lambda handler: released.wait(10) and None)  # type: ignore[func-returns-value]
    with trio.fail_after(5), pytest.raises(ApiError, match=r"no answer|timed out"):
        await rest.create_room("t", url)
    released.set()


async def test_https_is_the_default_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(
        rest, "_post", lambda _, url, *rest: asked.append(url) or b'{"roomId": "room"}'
    )
    assert await rest.create_room("t", "api.videosdk.live") == "room"
    assert asked == ["https://api.videosdk.live/v2/rooms"]


async def test_a_call_with_a_body(serve: Serve) -> None:
    asked: list[tuple[str, str | None, bytes]] = []

    def answer(handler: Handler) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        asked.append((handler.path, handler.headers["Authorization"], body))
        answering(200, b"done")(handler)

    await rest.post("t0ken", serve(answer), "/v2/x", {"a": 1})
    assert asked == [("/v2/x", "t0ken", b'{"a": 1}')]
