"""The registry over HTTP: REST for callers, a WebSocket for workers, and its page.

One starlette application. It knows requests and answers and decides nothing about jobs. Without a
token every peer that reaches the port may ask, except a web page from elsewhere: such a page would
act without the knowledge of the person at the browser.
"""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final

import attrs
import orjson
import trio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from .._masking import mask_answer
from ..errors import WireError
from ..http_server.access import AccessDenial, deny_web_page
from ..http_server.answers import Streams, answer_scrape, load_pages, requester_of
from ..protocol.messages import MAX_MESSAGE_BYTES
from .actions import AmbiguousJobError, DispatchError, DispatchFailure, UnknownJobError
from .core import Registry
from .ledger import DispatchRequest, Job, RecordedUpdate
from .page import follow, follow_job
from .public_url import registry_url
from .roster import RegisteredWorker
from .switchboard import MESSAGE_TOO_BIG, LinkClosed

_MAX_BODY_BYTES: Final = 256 * 1024
# Read and thrown away: a connection closed with bytes unread is reset, and the answer is lost.
_MAX_DISCARDED_BYTES: Final = 4 << 20
_BODY_SECONDS: Final = 10.0
_MAX_ID: Final = 256


@attrs.frozen
class BadRequestError(Exception):
    """The request cannot be answered; `message` is for the caller."""

    status: int
    message: str


async def json_object(request: Request) -> dict[str, Any]:
    """The body as an object; an empty body is an empty one."""
    body = bytearray()
    size = 0
    with trio.move_on_after(_BODY_SECONDS) as scope:
        async for chunk in request.stream():
            size += len(chunk)
            if size <= _MAX_BODY_BYTES:
                body += chunk
            elif size > _MAX_DISCARDED_BYTES:
                break
    if scope.cancelled_caught:
        raise BadRequestError(408, "the body did not arrive in time")
    if size > _MAX_BODY_BYTES:
        raise BadRequestError(413, f"the body is larger than {_MAX_BODY_BYTES} bytes")
    try:
        parsed = orjson.loads(body) if body else {}
    except orjson.JSONDecodeError as error:
        raise BadRequestError(400, f"the body is not JSON: {error.msg}") from None
    if not isinstance(parsed, dict):
        raise BadRequestError(400, f"the body must be an object, not {type(parsed).__name__}")
    return parsed


@attrs.frozen
class Fields:
    """The fields of a body, each checked when it is asked for."""

    body: dict[str, Any]

    def text(self, name: str, *, required: bool = False) -> str:
        value = self._of_type(name, str) or ""
        if len(value) > _MAX_ID or (required and not value):
            least = 1 if required else 0
            raise BadRequestError(400, f"{name} must have {least} to {_MAX_ID} characters")
        return value

    def object(self, name: str) -> dict[str, Any] | None:
        value: dict[str, Any] | None = self._of_type(name, dict)
        return value

    def flag(self, name: str) -> bool:
        return bool(self._of_type(name, bool))

    def seconds(self, name: str) -> float | None:
        value = self._of_type(name, float, int)
        if value is not None and (isinstance(value, bool) or value <= 0 or math.isinf(value)):
            raise BadRequestError(400, f"{name} must be a number of seconds above 0")
        return value

    def _of_type(self, name: str, *types: type) -> Any:
        value = self.body.get(name)
        if value is not None and not isinstance(value, types):
            wanted = " or ".join(kind.__name__ for kind in types)
            raise BadRequestError(400, f"{name} must be {wanted}, not {type(value).__name__}")
        return value


def update_json(update: RecordedUpdate, now: float) -> dict[str, Any]:
    """A worker's update of a job; `age` is in seconds."""
    return {"age": now - update.time, **attrs.asdict(update, filter=_is_not_time)}


def job_json(job: Job, now: float) -> dict[str, Any]:
    """A job for people and programs; times are seconds since it was dispatched."""

    def since(moment: float | None) -> float | None:
        return None if moment is None else moment - job.created

    return {
        "job_id": job.job_id,
        "agent_id": job.agent_id,
        "room_id": job.room_id,
        "worker_id": job.worker_id,
        "status": job.state.value,
        "error": job.error,
        "presumed": job.presumed,
        "adopted": job.adopted,
        "terminating": job.terminating,
        "offers": job.offers,
        "age": now - job.created,
        "assigned_after": since(job.assigned),
        "running_after": since(job.started),
        "ended_after": since(job.ended),
        "participant_identity": job.participant_identity,
        "participant_name": job.participant_name,
    }


def worker_json(worker: RegisteredWorker) -> dict[str, Any]:
    return {
        "worker_id": worker.worker_id,
        "agent_id": worker.agent_id,
        "status": "away" if worker.away else worker.status,
        "load": worker.load,
        "job_count": worker.job_count,
        "max_processes": worker.capacity,
        "jobs": sorted(worker.jobs),
        "is_full": worker.is_full,
    }


def _is_not_time(attribute: attrs.Attribute[Any], _: Any) -> bool:
    return attribute.name != "time"


class WebSocketLink:
    """A starlette WebSocket as the `WorkerLink` that the core serves."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket

    async def receive(self) -> str | bytes:
        message = await self._websocket.receive()
        if message["type"] == "websocket.disconnect":
            raise LinkClosed
        text: str | None = message.get("text")
        frame = text if text is not None else bytes(message["bytes"])
        if len(frame) > MAX_MESSAGE_BYTES:
            await self.close(MESSAGE_TOO_BIG, "message too big")
            raise LinkClosed
        return frame

    async def send(self, text: str) -> None:
        # The reader closes it, too, and starlette takes a send after that for a bug.
        if self._websocket.application_state is WebSocketState.DISCONNECTED:
            await trio.lowlevel.checkpoint()
            raise LinkClosed
        try:
            await self._websocket.send_text(text)
        except WebSocketDisconnect:
            raise LinkClosed from None

    async def close(self, code: int, reason: str) -> None:
        if self._websocket.application_state is WebSocketState.DISCONNECTED:
            await trio.lowlevel.checkpoint()
            return
        # A close frame has room for 123 bytes of reason.
        short = reason.encode()[:120].decode(errors="ignore")
        with suppress(WebSocketDisconnect):
            await self._websocket.close(code, short)


_HTTP_STATUS: Final = {
    DispatchFailure.AGENT_NOT_DEPLOYED: 404,
    DispatchFailure.NO_WORKERS_REGISTERED: 503,
    DispatchFailure.NO_WORKERS_AVAILABLE: 503,
    DispatchFailure.TERMINATED: 409,
    DispatchFailure.TOO_MANY_JOBS: 503,
    DispatchFailure.CLOSING: 503,
}


_Handler = Callable[[Registry, Request], Awaitable[ASGIApp]]


def make_app(
    registry: Registry, stopping: trio.Event, *, public_url: str | None = None
) -> Starlette:
    """The ASGI application around a registry that the caller runs.

    Pages stop watching at `stopping`. `public_url` is the address in answers to workers; None: the
    one by which they ask.
    """
    pages = load_pages("vsdk_trio.http_server", "vsdk_trio.registry")
    streams = Streams(stopping)

    async def init_config(_: Registry, request: Request) -> Response:
        scheme = request.url.scheme
        url = registry_url(scheme, request.url.netloc, request.headers, public_url=public_url)
        return _answer({"success": True, "data": {"registryUrl": url}})

    async def page(_: Registry, request: Request) -> ASGIApp:
        return pages.answer(request.path_params.get("name", "registry.html"), request)

    async def events(registry: Registry, request: Request) -> ASGIApp:
        if typed := request.query_params.get("job"):
            return streams.answer(partial(follow_job, registry, typed))
        return streams.answer(partial(follow, registry))

    async def job_page(_: Registry, request: Request) -> ASGIApp:
        return pages.answer("job.html", request)

    def route(path: str, method: str, handler: _Handler, *, is_open: bool = False) -> Route:
        async def endpoint(request: Request) -> ASGIApp:
            if not is_open and (denial := _deny(registry, request)) is not None:
                return _failure(denial.status, denial.message)
            try:
                return await handler(registry, request)
            except BadRequestError as error:
                return _failure(error.status, error.message)
            except WireError as error:
                return _failure(400, str(error))
            except UnknownJobError as error:
                return _failure(404, str(error))
            except AmbiguousJobError as error:
                return _failure(409, str(error))

        return Route(path, endpoint, methods=[method])

    async def agent(websocket: WebSocket) -> None:
        if (denial := _deny(registry, websocket)) is not None:
            await websocket.send_denial_response(_failure(denial.status, denial.message))
            return
        if websocket.scope["http_version"] != "1.1":
            # Over HTTP/2 the bounds of `GuardedStream` do not hold.
            await websocket.send_denial_response(_failure(400, "a worker must use HTTP/1.1"))
            return
        await websocket.accept()
        await registry.serve_worker(WebSocketLink(websocket))

    return Starlette(
        routes=[
            # A page has no data in it: it asks for them.
            route("/", "GET", page, is_open=True),
            route("/jobs/{job_id:path}", "GET", job_page, is_open=True),
            route("/static/{name}", "GET", page, is_open=True),
            route("/events", "GET", events),
            route("/health", "GET", _health, is_open=True),
            route("/metrics", "GET", _metrics, is_open=True),
            route("/v2/agent/init-config", "POST", init_config),
            route("/v2/agent/dispatch", "POST", _dispatch),
            route("/v2/rooms", "POST", _create_room),
            route("/v2/agent/workers", "GET", _workers),
            route("/v2/agent/jobs", "GET", _jobs),
            route("/v2/agent/jobs/{job_id:path}", "GET", _job),
            route("/v2/agent/jobs/{job_id:path}/terminate", "POST", _terminate),
            WebSocketRoute("/agent", agent),
        ],
        exception_handlers={HTTPException: _http_failure},
    )


# -- routes --------------------------------------------------------------------------------------


async def _health(registry: Registry, _: Request) -> Response:
    open_jobs = sum(1 for job in registry.jobs() if not job.state.ended)
    present = [worker for worker in registry.workers() if not worker.away]
    full = sum(worker.is_full for worker in present)
    counts = {"workers": len(present), "full_workers": full, "open_jobs": open_jobs}
    return _answer({"status": "ok", **counts})


async def _metrics(registry: Registry, request: Request) -> Response:
    return await answer_scrape(registry.measure(), request)


async def _create_room(registry: Registry, _: Request) -> Response:
    return _answer({"roomId": registry.create_room()})


async def _dispatch(registry: Registry, request: Request) -> Response:
    body = Fields(await json_object(request))
    job_request = DispatchRequest(
        agent_id=body.text("agentId", required=True),
        room_id=body.text("meetingId") or registry.create_room(),
        room_options=body.object("roomOptions"),
        metadata=body.object("metadata"),
        wait=body.flag("wait"),
        timeout=body.seconds("timeout"),
    )
    who = {"roomId": job_request.room_id, "agentId": job_request.agent_id}
    try:
        job = await registry.dispatch(job_request)
    except DispatchError as error:
        known = {"jobId": error.job.job_id} if error.job is not None else {}
        data = {"success": False, "status": "failed", **who, **known}
        answer = {"message": str(error), "data": data}
        return _answer(answer, status_code=_HTTP_STATUS[error.failure])
    data = {"success": True, "status": "assigned", **who, "jobId": job.job_id}
    return _answer({"message": "Agent dispatched", "data": data})


async def _workers(registry: Registry, _: Request) -> Response:
    return _answer({"workers": [worker_json(worker) for worker in registry.workers()]})


async def _jobs(registry: Registry, _: Request) -> Response:
    now = trio.current_time()
    return _answer({"jobs": [job_json(job, now) for job in registry.jobs()]})


async def _job(registry: Registry, request: Request) -> Response:
    job = registry.find_job(request.path_params["job_id"])
    now = trio.current_time()
    updates = [update_json(update, now) for update in registry.updates(job.job_id)]
    return _answer({"job": job_json(job, now), "updates": updates})


async def _terminate(registry: Registry, request: Request) -> Response:
    reason = Fields(await json_object(request)).text("reason") or "terminated on request"
    before = registry.find_job(request.path_params["job_id"])
    job = registry.terminate(before.job_id, reason)
    # Ended before it was asked: nothing was done, and the answer says so.
    status = 409 if before.state.ended else 202
    message = f"the job has already ended: {job.state.value}" if status == 409 else "terminating"
    answer = {"message": message, "job": job_json(job, trio.current_time())}
    return _answer(answer, status_code=status)


# -- in and out ----------------------------------------------------------------------------------


def _deny(registry: Registry, connection: HTTPConnection) -> AccessDenial | None:
    """Why this request is not answered; None: it is."""
    token = connection.headers.get("authorization")
    if not registry.is_authorized(token):
        return AccessDenial(401, "invalid token" if token else "a token is needed here")
    is_open = registry.is_authorized(None)
    return deny_web_page(requester_of(connection)) if is_open else None


def _answer(value: dict[str, Any], *, status_code: int = 200) -> Response:
    """A value as JSON: the only way in which one leaves."""
    body = json.dumps(mask_answer(value), ensure_ascii=False, separators=(",", ":"))
    return Response(body, status_code, media_type="application/json")


def _failure(status: int, message: str) -> Response:
    return _answer({"success": False, "message": message}, status_code=status)


async def _http_failure(_: Request, error: Exception) -> Response:
    """An unknown route or method, in the same form as every other failure.

    A coroutine, because starlette gives a plain function a thread, and any stranger can ask for it.
    """
    assert isinstance(error, HTTPException)
    return _failure(error.status_code, error.detail)
