"""The registry over HTTP: REST for callers, a WebSocket for workers, on one starlette app.

Knows requests and answers; decides nothing about jobs. Bodies are bounded in size and in time.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any, Final

import attrs
import orjson
import trio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from ..errors import WireError
from ..web.answers import answer_scrape
from .actions import DispatchError, DispatchFailure, UnknownJobError
from .core import Registry
from .ledger import Job, JobRequest
from .websocket_link import WebSocketLink
from .workers import Worker

_MAX_BODY_BYTES: Final = 256 * 1024
# Read and thrown away: a connection closed with bytes unread is reset, and the answer is lost.
_MAX_DISCARDED_BYTES: Final = 4 << 20
_BODY_SECONDS: Final = 10.0
_MAX_ID: Final = 256

_HTTP_STATUS: Final = {
    DispatchFailure.AGENT_NOT_DEPLOYED: 404,
    DispatchFailure.NO_WORKERS_REGISTERED: 503,
    DispatchFailure.NO_WORKERS_AVAILABLE: 503,
    DispatchFailure.TERMINATED: 409,
    DispatchFailure.TOO_MANY_JOBS: 503,
    DispatchFailure.CLOSING: 503,
}


@attrs.frozen
class _BadRequestError(Exception):
    """The request cannot be answered; `message` is for the caller."""

    status: int
    message: str


_Handler = Callable[[Registry, Request], Awaitable[Response]]


def make_app(registry: Registry) -> Starlette:
    """The ASGI application around a registry that somebody else runs."""

    def route(path: str, method: str, handler: _Handler, *, is_open: bool = False) -> Route:
        async def endpoint(request: Request) -> Response:
            if not is_open and not _is_authorized(registry, request):
                return _failure(401, "invalid token")
            try:
                return await handler(registry, request)
            except _BadRequestError as error:
                return _failure(error.status, error.message)
            except WireError as error:
                return _failure(400, str(error))
            except UnknownJobError as error:
                return _failure(404, str(error))

        return Route(path, endpoint, methods=[method])

    async def agent(websocket: WebSocket) -> None:
        if not _is_authorized(registry, websocket):
            await websocket.send_denial_response(_failure(401, "invalid token"))
            return
        if websocket.scope["http_version"] != "1.1":
            # Over HTTP/2 the bounds of `_guarded_stream` do not hold.
            await websocket.send_denial_response(_failure(400, "a worker must use HTTP/1.1"))
            return
        await websocket.accept()
        await registry.serve_worker(WebSocketLink(websocket))

    return Starlette(
        routes=[
            route("/health", "GET", _health, is_open=True),
            route("/metrics", "GET", _metrics, is_open=True),
            route("/v2/agent/init-config", "POST", _init_config),
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
    workers = sum(1 for worker in registry.workers() if not worker.away)
    return JSONResponse({"status": "ok", "workers": workers, "open_jobs": open_jobs})


async def _metrics(registry: Registry, request: Request) -> Response:
    return await answer_scrape(registry.measure(), request)


async def _init_config(_: Registry, request: Request) -> Response:
    # By the name the caller came by, so that it holds behind a port mapping; with `ws`, because
    # the published client turns `http` into `wss`.
    scheme = "wss" if request.url.scheme == "https" else "ws"
    url = f"{scheme}://{request.url.netloc}"
    return JSONResponse({"success": True, "data": {"registryUrl": url}})


async def _create_room(registry: Registry, _: Request) -> Response:
    return JSONResponse({"roomId": registry.create_room()})


async def _dispatch(registry: Registry, request: Request) -> Response:
    body = _Fields(await _json_object(request))
    job_request = JobRequest(
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
        return JSONResponse(answer, status_code=_HTTP_STATUS[error.failure])
    data = {"success": True, "status": "assigned", **who, "jobId": job.job_id}
    return JSONResponse({"message": "Agent dispatched", "data": data})


async def _workers(registry: Registry, _: Request) -> Response:
    return JSONResponse({"workers": [_worker_json(worker) for worker in registry.workers()]})


async def _jobs(registry: Registry, _: Request) -> Response:
    now = trio.current_time()
    return JSONResponse({"jobs": [_job_json(job, now) for job in registry.jobs()]})


async def _job(registry: Registry, request: Request) -> Response:
    job = registry.job(request.path_params["job_id"])
    now = trio.current_time()
    updates = [
        {"age": now - update.time, **attrs.asdict(update, filter=_is_not_time)}
        for update in registry.updates(job.job_id)
    ]
    return JSONResponse({"job": _job_json(job, now), "updates": updates})


async def _terminate(registry: Registry, request: Request) -> Response:
    reason = _Fields(await _json_object(request)).text("reason") or "terminated on request"
    before = registry.job(request.path_params["job_id"])
    job = registry.terminate(before.job_id, reason)
    # Ended before it was asked: nothing was done, and the answer says so.
    status = 409 if before.state.ended else 202
    message = f"the job has already ended: {job.state.value}" if status == 409 else "terminating"
    answer = {"message": message, "job": _job_json(job, trio.current_time())}
    return JSONResponse(answer, status_code=status)


# -- in and out ----------------------------------------------------------------------------------


def _is_authorized(registry: Registry, connection: HTTPConnection) -> bool:
    return registry.is_authorized(connection.headers.get("authorization"))


def _failure(status: int, message: str) -> JSONResponse:
    return JSONResponse({"success": False, "message": message}, status_code=status)


async def _http_failure(_: Request, error: Exception) -> Response:
    """An unknown route or method, in the same form as every other failure.

    A coroutine, because starlette gives a plain function a thread, and any stranger can ask for it.
    """
    assert isinstance(error, HTTPException)
    return _failure(error.status_code, error.detail)


async def _json_object(request: Request) -> dict[str, Any]:
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
        raise _BadRequestError(408, "the body did not arrive in time")
    if size > _MAX_BODY_BYTES:
        raise _BadRequestError(413, f"the body is larger than {_MAX_BODY_BYTES} bytes")
    try:
        parsed = orjson.loads(body) if body else {}
    except orjson.JSONDecodeError as error:
        raise _BadRequestError(400, f"the body is not JSON: {error.msg}") from None
    if not isinstance(parsed, dict):
        raise _BadRequestError(400, f"the body must be an object, not {type(parsed).__name__}")
    return parsed


@attrs.frozen
class _Fields:
    """The fields of a body, each checked when it is asked for."""

    body: dict[str, Any]

    def text(self, name: str, *, required: bool = False) -> str:
        value = self._of_type(name, str) or ""
        if len(value) > _MAX_ID or (required and not value):
            least = 1 if required else 0
            raise _BadRequestError(400, f"{name} must have {least} to {_MAX_ID} characters")
        return value

    def object(self, name: str) -> dict[str, Any] | None:
        value: dict[str, Any] | None = self._of_type(name, dict)
        return value

    def flag(self, name: str) -> bool:
        return bool(self._of_type(name, bool))

    def seconds(self, name: str) -> float | None:
        value = self._of_type(name, float, int)
        if value is not None and (isinstance(value, bool) or value <= 0 or math.isinf(value)):
            raise _BadRequestError(400, f"{name} must be a number of seconds above 0")
        return value

    def _of_type(self, name: str, *types: type) -> Any:
        value = self.body.get(name)
        if value is not None and not isinstance(value, types):
            wanted = " or ".join(kind.__name__ for kind in types)
            raise _BadRequestError(400, f"{name} must be {wanted}, not {type(value).__name__}")
        return value


def _is_not_time(attribute: attrs.Attribute[Any], _: Any) -> bool:
    return attribute.name != "time"


def _job_json(job: Job, now: float) -> dict[str, Any]:
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


def _worker_json(worker: Worker) -> dict[str, Any]:
    return {
        "worker_id": worker.worker_id,
        "agent_id": worker.agent_id,
        "status": "away" if worker.away else worker.status,
        "load": worker.load,
        "job_count": worker.job_count,
        "max_processes": worker.capacity,
        "jobs": sorted(worker.jobs),
    }
