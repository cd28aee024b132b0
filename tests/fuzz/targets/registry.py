"""Targets: the local registry at the hands of a hostile worker and of a hostile caller."""

from __future__ import annotations

import json
import random
import re
from collections import deque
from typing import Any
from urllib.parse import unquote

import trio
import trio.lowlevel
from hypothesis import strategies as st

from vsdk_trio.registry.actions import DispatchError
from vsdk_trio.registry.core import Registry, open_registry_core
from vsdk_trio.registry.http_api import make_app
from vsdk_trio.registry.ledger import DispatchRequest, Job, LedgerState
from vsdk_trio.registry.switchboard import LinkClosed

from ..base import TOKEN, Target, chunks, expect, json_lines, simulate
from . import codec

_HONEST = "honest-agent"
_HOSTILE = "hostile"
_MAX_SHOWN = 2_000


class _Link:
    """A link whose worker says these frames, `@JOB@` being the job it was told of last."""

    def __init__(self, frames: list[bytes]) -> None:
        self._frames = deque(frames)
        self._is_closed = trio.Event()
        self.job_id = b"?"

    async def receive(self) -> str | bytes:
        await trio.lowlevel.checkpoint()
        if self._is_closed.is_set() or not self._frames:
            with trio.move_on_after(5):
                await self._is_closed.wait()
            raise LinkClosed
        await trio.sleep(0.01)
        return self._frames.popleft().replace(b"@JOB@", self.job_id)

    async def send(self, text: str) -> None:
        await trio.lowlevel.checkpoint()
        if self._is_closed.is_set():
            raise LinkClosed
        message = json.loads(text)
        expect(TOKEN not in text, "the token in a frame")
        self.job_id = str(message.get("job_id") or self.job_id.decode()).encode()

    async def close(self, code: int, reason: str) -> None:
        await trio.lowlevel.checkpoint()
        expect(1000 <= code < 5000 and len(reason.encode()) <= 4 * _MAX_SHOWN, "a bad goodbye")
        self._is_closed.set()


class _HonestLink(_Link):
    """A worker that takes a job and completes it."""

    def __init__(self) -> None:
        super().__init__([])
        register = {"type": "register", "agent_name": _HONEST, "token": TOKEN, "max_processes": 9}
        self._say, self._said = trio.open_memory_channel[str](100)
        self._say.send_nowait(json.dumps(register))

    async def receive(self) -> str | bytes:
        return await self._said.receive()

    async def send(self, text: str) -> None:
        await trio.lowlevel.checkpoint()
        message = json.loads(text)
        about = {"job_id": message.get("job_id")}
        if message["type"] == "availability_request":
            answer = {"type": "availability_response", "available": True, **about}
            self._say.send_nowait(json.dumps(answer))
        elif message["type"] == "job_assignment":
            for status in ("running", "completed"):
                update = {"type": "job_update", "status": status, **about}
                self._say.send_nowait(json.dumps(update))


async def _try_dispatch(registry: Registry, agent_id: str) -> Job | None:
    try:
        return await registry.dispatch(DispatchRequest(agent_id=agent_id, room_id="r"))
    except DispatchError:
        return None


async def _call(registry: Registry, method: str, path: str) -> tuple[int, bytes]:
    app = make_app(registry, trio.Event())
    return await _request(app, method, path, [_AUTHORIZED], b"")


_AUTHORIZED = (b"authorization", TOKEN.encode())


def run_registry(data: bytes) -> None:
    """Each line is a frame of a worker; others are served all the same, and the books are right."""

    async def main() -> None:
        registry = Registry(auth_token=TOKEN, rng=random.Random(0))
        async with trio.open_nursery() as nursery, open_registry_core(registry):
            for agent in (_HOSTILE, _HOSTILE):
                nursery.start_soon(_dispatch_soon, registry, agent)
            await registry.serve_worker(_Link(data.split(b"\n")))
            nursery.start_soon(registry.serve_worker, _HonestLink())
            await trio.sleep(0.1)
            job = await _try_dispatch(registry, _HONEST)
            expect(job is not None, "an honest worker got no job")
            assert job is not None
            ended = await registry.wait_ended(job.job_id)
            expect(ended.state is LedgerState.COMPLETED, f"an honest job ended as {ended.state}")
            for path in ("/health", "/v2/agent/workers", "/v2/agent/jobs"):
                status, body = await _call(registry, "GET", path)
                expect(status == 200, f"{path} answers {status}")
                expect(len(body) < 1 << 18, f"{path} answers {len(body)} bytes")
            for known in registry.jobs():
                _check_job(known)
            nursery.cancel_scope.cancel()

    simulate(main)


async def _dispatch_soon(registry: Registry, agent: str) -> None:
    await trio.sleep(0.015)  # after the first frame, which should be `register`
    await _try_dispatch(registry, agent)


def _check_job(job: Job) -> None:
    expect(len(job.job_id) <= 256, "an overlong id")
    expect(len(job.error or "") <= _MAX_SHOWN, "an overlong error")
    expect((job.ended is not None) == job.state.ended, f"{job} has ended and has not")


async def _request(
    app: Any, method: str, target: str, headers: list[tuple[bytes, bytes]], body: bytes
) -> tuple[int, bytes]:
    """One request to an ASGI application, as hypercorn would put it."""
    path, _, query = target.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    pieces = deque([*chunks(body)] or [b""])
    statuses: list[int] = []
    answer = bytearray()

    async def receive() -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        if not pieces:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": pieces.popleft(), "more_body": bool(pieces)}

    async def send(message: dict[str, Any]) -> None:
        await trio.lowlevel.checkpoint()
        if message["type"] == "http.response.start":
            statuses.append(message["status"])
        else:
            answer.extend(message.get("body", b""))

    await app(scope, receive, send)
    expect(len(statuses) == 1, f"{len(statuses)} answers to one request")
    return statuses[0], bytes(answer)


_HEADER = re.compile(rb"([-!#$%&'*+.^_`|~0-9a-zA-Z]+):[ \t]*([^\x00-\x1f\x7f]*?)[ \t]*$")
_PLAIN = (200, 202, 400, 401, 404, 405, 409, 413, 503)
_REDIRECTS = (307,)
_NO_JSON = ("", "/", "/metrics", "/events")


def run_rest(data: bytes) -> None:
    """A request by a stranger: method, target, header and body as they were put."""
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    words = [re.sub(rb"[^\x21-\x7e]", b"", word).decode() for word in first.split(b" ")]
    method, target = (*words, "", "")[:2]
    matches = [match for match in map(_HEADER.match, lines) if match]
    headers = [(match[1].lower(), match[2]) for match in matches]

    async def main() -> None:
        registry = Registry(auth_token=TOKEN, rng=random.Random(0))
        async with trio.open_nursery() as nursery, open_registry_core(registry):
            nursery.start_soon(registry.serve_worker, _HonestLink())
            await trio.sleep(0.1)
            known = await _try_dispatch(registry, _HONEST)
            assert known is not None
            path = target.replace("@JOB@", known.job_id)
            app = make_app(registry, trio.Event())
            status, answer = await _request(app, method or "GET", path or "/", headers, body)
            is_known = (b"authorization", TOKEN.encode()) in headers or any(
                name == b"authorization" and TOKEN.encode() in value for name, value in headers
            )
            expect(status in _PLAIN + _REDIRECTS, f"answered with {status}")
            asked = unquote(path.partition("?")[0])
            is_page = asked in _NO_JSON or asked.startswith("/static/")
            if status not in _REDIRECTS and method != "HEAD" and not is_page:
                expect(isinstance(json.loads(answer), dict), "an answer that is no object")
            if not is_known:
                is_open = is_page or path.startswith("/health")
                expect(status in (401, 404, 405, 307) or is_open, "let in")
                expect(TOKEN.encode() not in answer or TOKEN in target, "the token in an answer")
            status, _answer = await _call(registry, "GET", "/v2/agent/jobs")
            expect(status == 200, f"after that, answered with {status}")
            nursery.cancel_scope.cancel()

    simulate(main)


def _post(path: str, body: bytes, *headers: bytes) -> bytes:
    lines = (f"POST {path} HTTP/1.1".encode(), b"Host: registry.test:8080", *headers, b"", body)
    return b"\r\n".join(lines)


_BEARER = b"Authorization: Bearer " + TOKEN.encode()
_REGISTER = (
    b'{"type":"register","agent_name":"hostile","token":"' + TOKEN.encode() + b'",'
    b'"max_processes":3,"version":"1","worker_id":"w"}'
)
_YES = b'{"type":"availability_response","job_id":"@JOB@","available":true}'
_UPDATES = tuple(
    b'{"type":"job_update","job_id":"@JOB@","status":"' + status + b'","error":"e"}'
    for status in (b"running", b"completed", b"failed", b"cancelled", b"odd")
)
_TALK = (
    b"\n".join((_REGISTER, *[_YES] * 3, *_UPDATES[:2])),
    b"\n".join((_REGISTER, b"{}", _YES, _UPDATES[0], b'{"type":"status_update","load":0.9}', _YES)),
    b"\n".join((_REGISTER, _YES.replace(b"true", b"false"), *_UPDATES[2:])),
    b"\n".join((_REGISTER.replace(TOKEN.encode(), b"x"), _YES)),
    b"\n".join((_YES, _REGISTER, _REGISTER, *codec.SEEDS)),
    b"\n".join((_REGISTER, _UPDATES[0].replace(b"@JOB@", b"mine"), _UPDATES[2])),
)
_REQUESTS = (
    _post(
        "/v2/agent/dispatch", b'{"agentId":"honest-agent","meetingId":"r","metadata":{}}', _BEARER
    ),
    _post(
        "/v2/agent/dispatch", b'{"agentId":"x","wait":true,"timeout":5,"roomOptions":{}}', _BEARER
    ),
    _post("/v2/agent/init-config", b"", _BEARER),
    _post("/v2/rooms", b"{}", _BEARER, b"Content-Type: application/json"),
    _post("/v2/agent/jobs/@JOB@/terminate", b'{"reason":"r"}', _BEARER),
    b"GET /v2/agent/jobs/@JOB@ HTTP/1.1\r\n" + _BEARER + b"\r\n\r\n",
    b"GET /v2/agent/jobs/%2e%2e/x/ HTTP/1.1\r\n" + _BEARER + b"\r\n\r\n",
    b"GET /health?x=y HTTP/1.1\r\n\r\n",
    _post("/v2/agent/dispatch", b"[1]", b"Authorization: nonsense"),
)

TARGETS = (
    Target(
        name="registry",
        run=run_registry,
        seeds=_TALK,
        words=(
            *codec.WORDS,
            b"@JOB@",
            b"hostile",
            b"running",
            b"completed",
            b"failed",
            b"w",
            b"available",
            b"draining",
            _REGISTER,
            _YES,
        ),
        built=json_lines(codec.TYPES, codec.NAMES, most=5).map(
            lambda text: _REGISTER + b"\n" + text
        ),
        share=6,
        quick=300,
    ),
    Target(
        name="rest",
        run=run_rest,
        seeds=_REQUESTS,
        words=(
            b"\r\n",
            b"Host: ",
            b"[",
            _BEARER,
            b"/v2/agent/",
            b"%00",
            b"%ff",
            b"?",
            b"//",
            b"@JOB@",
            b"PUT",
            b"HEAD",
            b"OPTIONS",
            b"1e999",
            b'"timeout":',
            b"agentId",
            b"roomOptions",
            b"terminate",
            b"Content-Length: 5",
            b"/",
        ),
        built=st.tuples(
            st.sampled_from(_REQUESTS),
            json_lines((), ("agentId", "meetingId", "metadata", "wait", "timeout", "reason")),
        ).map(lambda pair: pair[0].partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + pair[1]),
        share=12,
        quick=600,
    ),
)
