"""The workers' side of the registry: links, sessions, and what a frame means.

A session sends frames through a bounded queue and passes received frames to a synchronous handler.
So a worker that does not read delays neither its own frames nor those of others: its queue fills,
and its link is closed. The switchboard turns frames into events of the dispatcher, and the
dispatcher's actions into frames.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Final, Protocol, assert_never

import trio

from .._masking import cut
from ..errors import WireError
from ..protocol.codec import Unknown, decode_from_worker
from ..protocol.messages import AvailabilityResponse, JobUpdate, WorkerMessage, WorkerPing
from ..telemetry.events import registry as seen
from ..telemetry.logs.loggers import get_logger
from . import wire
from .actions import Action, Assign, Offer, Terminate
from .dispatcher import Dispatcher
from .roster import RegisteredWorker, Roster

# RFC 6455, and one of the private range; ABNORMAL is never sent, it says that nothing was.
ABNORMAL: Final = 1006
GOING_AWAY: Final = 1001
POLICY_VIOLATION: Final = 1008
MESSAGE_TOO_BIG: Final = 1009
TOO_SLOW: Final = 1013
TAKEN_OVER: Final = 4001

_QUEUE_FRAMES: Final = 256
_SEND_SECONDS: Final = 10.0
_FLUSH_SECONDS: Final = 3.0
_GOODBYE_SECONDS: Final = 1.0


class LinkClosed(Exception):
    """The other end of the link is gone."""


class WorkerLink(Protocol):
    """What carries text frames to and from one worker: a WebSocket, or two memory channels."""

    async def receive(self) -> str | bytes:
        """The next frame. Raises `LinkClosed` when there is none to come."""
        ...

    async def send(self, text: str) -> None:
        """Send a frame. Raises `LinkClosed`."""
        ...

    async def close(self, code: int, reason: str) -> None:
        """Say goodbye with a WebSocket close code. Never raises for a link that is gone."""
        ...


class WorkerSession:
    """A link while it is served. `worker_id` is "" until the worker has registered.

    `ignored` counts frames that changed nothing, by kind.
    """

    def __init__(self, link: WorkerLink) -> None:
        self.worker_id = ""
        self.short_offers = False
        self.ignored: Counter[str] = Counter()
        self._link = link
        self._queue_in, self._queue_out = trio.open_memory_channel[str](_QUEUE_FRAMES)
        self._goodbye: tuple[int, str] | None = None
        self._sending = trio.CancelScope()

    @property
    def is_closing(self) -> bool:
        """True once `close` was called, the queue ran over, or the link is gone."""
        return self._goodbye is not None

    def post(self, frame: str) -> None:
        """Send a frame soon, in order; nothing is sent after `close`."""
        if self._goodbye is not None:
            return
        try:
            self._queue_in.send_nowait(frame)
        except trio.WouldBlock:
            self.close(TOO_SLOW, "too many frames unread")
            self._sending.cancel()

    def close(self, code: int, reason: str) -> None:
        """End the session after the frames that are queued; the first call counts.

        They have a few seconds together: a peer that reads one now and then is not waited for.
        """
        if self._goodbye is None:
            self._goodbye = (code, reason)
            self._queue_in.close()
            self._sending.deadline = trio.current_time() + _FLUSH_SECONDS

    async def run(self, handle: Callable[[str | bytes], None]) -> None:
        """Pass every frame to `handle` until either side closes. Cancelling it says no goodbye."""
        with self._queue_out:
            try:
                await self._run(handle)
            finally:
                # A caller may post before its owner knows of the end; that must do nothing.
                self.close(ABNORMAL, "the link is gone")

    async def _run(self, handle: Callable[[str | bytes], None]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send_all, nursery.cancel_scope)
            try:
                while True:
                    handle(await self._link.receive())
            except LinkClosed:
                nursery.cancel_scope.cancel()

    async def _send_all(self, session_scope: trio.CancelScope) -> None:
        try:
            with self._sending:
                async for frame in self._queue_out:
                    with trio.fail_after(_SEND_SECONDS):
                        await self._link.send(frame)
            assert self._goodbye is not None  # that is what ended the sending
            with trio.move_on_after(_GOODBYE_SECONDS):
                await self._link.close(*self._goodbye)
        except (LinkClosed, trio.TooSlowError):
            pass
        session_scope.cancel()


_log = get_logger("vsdk_trio.registry")

MAX_TEXT: Final = 2_000
_MAX_ID: Final = 256


class Switchboard:
    """The sessions of registered workers, by worker id."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        roster: Roster,
        *,
        is_authorized: Callable[[str | None], bool],
        new_id: Callable[[], str],
        observe: Callable[[seen.RegistryObservation], None],
    ) -> None:
        self._observe = observe
        self._dispatcher = dispatcher
        self._roster = roster
        self._is_authorized = is_authorized
        self._new_id = new_id
        self._sessions: dict[str, WorkerSession] = {}

    def send(self, action: Offer | Assign | Terminate) -> list[Action]:
        """Queue the frame of an action for its worker.

        A worker that has too much in its queue is lost; what that means is returned, and what was
        decided for it before that was known comes to nothing.
        """
        session = self._sessions.get(action.worker_id)
        if session is None:
            return []
        match action:
            case Offer(worker_id, job):
                self._observe(seen.OfferMade(job_id=job.job_id, worker_id=worker_id))
                frame = wire.offer(job, short=session.short_offers)
            case Assign(_, job):
                frame = wire.assignment(job.job_id, job.request)
            case Terminate(worker_id, job_id, reason):
                self._observe(seen.TerminationSent(job_id=job_id, worker_id=worker_id))
                frame = wire.termination(job_id, reason)
            case _:
                assert_never(action)
        return self._post(session, frame)

    def _post(self, session: WorkerSession, frame: str) -> list[Action]:
        session.post(frame)
        return self.session_ended(session) if session.is_closing else []

    def session_ended(self, session: WorkerSession) -> list[Action]:
        """The link is gone, or nothing more can be sent over it: its worker is lost.

        Does nothing where that is known already, or the worker has come back on another link.
        """
        if self._sessions.get(session.worker_id) is not session:
            return []
        del self._sessions[session.worker_id]
        _log.info("worker gone", extra={"worker_id": session.worker_id})
        self._observe(seen.WorkerLeft(worker_id=session.worker_id))
        return self._dispatcher.worker_lost(session.worker_id, trio.current_time())

    def handle(self, session: WorkerSession, frame: str | bytes) -> list[Action]:
        """Decide on one frame; a frame without a meaning here is ignored."""
        try:
            message = decode_from_worker(frame)
        except WireError as error:
            return self._ignore(session, "malformed", str(error))
        if isinstance(message, WorkerMessage) and message.type == "register":
            return self._register(session, message)
        if not session.worker_id:
            return self._ignore(session, "before register", message.type)
        if self._sessions.get(session.worker_id) is not session:
            return self._ignore(session, "after its end", message.type)
        match message:
            case WorkerMessage():
                return self._dispatcher.worker_reported(
                    session.worker_id,
                    status=cut(message.status or "", _MAX_ID),
                    load=message.load or 0.0,
                    job_count=message.job_count or 0,
                    now=trio.current_time(),
                )
            case AvailabilityResponse():
                self._observe(
                    seen.OfferDecided(
                        job_id=message.job_id,
                        worker_id=session.worker_id,
                        is_accepted=message.available,
                    )
                )
                return self._dispatcher.offer_answered(
                    session.worker_id,
                    message.job_id,
                    available=message.available,
                    now=trio.current_time(),
                )
            case JobUpdate():
                return self._update_job(session, message)
            case WorkerPing():
                return self._post(session, wire.pong(message.timestamp))
            case Unknown():
                return self._ignore(session, "unknown type", message.type)
            case _:
                assert_never(message)

    def _update_job(self, session: WorkerSession, message: JobUpdate) -> list[Action]:
        if len(message.job_id) > _MAX_ID:
            return self._ignore(session, "overlong job id", f"{len(message.job_id)} characters")
        return self._dispatcher.job_updated(
            session.worker_id,
            message.job_id,
            status=cut(message.status, _MAX_ID),
            error=_cut(message.error),
            participant_identity=_cut(message.participant_identity),
            participant_name=_cut(message.participant_name),
            now=trio.current_time(),
        )

    def _register(self, session: WorkerSession, message: WorkerMessage) -> list[Action]:
        if session.worker_id or session.is_closing:
            return self._ignore(session, "register out of place", message.type)
        refusal = self._refusal(message)
        if refusal is not None:
            _log.warning("registration refused: %s", refusal)
            self._observe(seen.WorkerRefused(reason=refusal))
            session.post(wire.refused(refusal))
            session.close(POLICY_VIOLATION, refusal)
            return []
        agent_id = message.agent_name or ""
        worker_id = self._identity(message.worker_id or "", agent_id)
        is_known = self._roster.get(worker_id) is not None
        self._observe(seen.WorkerJoined(worker_id=worker_id, agent_id=agent_id, is_known=is_known))
        stale = self._sessions.get(worker_id)
        if stale is not None:
            stale.close(TAKEN_OVER, "this worker id came back on another connection")
        self._sessions[worker_id] = session
        session.worker_id = worker_id
        session.short_offers = message.version is None
        session.post(wire.registered(worker_id))
        _log.info("worker registered", extra={"worker_id": worker_id, "agent_id": agent_id})
        capacity = message.max_processes
        worker = RegisteredWorker(
            worker_id=worker_id,
            agent_id=agent_id,
            capacity=capacity if capacity is not None and capacity > 0 else None,
            reannounces=not session.short_offers,
        )
        return self._dispatcher.worker_joined(worker, trio.current_time())

    def _refusal(self, message: WorkerMessage) -> str | None:
        if not self._is_authorized(message.token):
            return "invalid token"
        if not message.agent_name or len(message.agent_name) > _MAX_ID:
            return f"agent_name must have 1 to {_MAX_ID} characters"
        return None

    def _identity(self, asked: str, agent_id: str) -> str:
        """The id a worker gets: the one it asks for, unless that is junk or another agent's."""
        known = self._roster.get(asked)
        if not asked or len(asked) > _MAX_ID or not asked.isprintable():
            return self._new_id()
        return asked if known is None or known.agent_id == agent_id else self._new_id()

    def _ignore(self, session: WorkerSession, kind: str, detail: str) -> list[Action]:
        """Count it, log it once per kind and link, and do nothing."""
        session.ignored[kind] += 1
        self._observe(seen.WorkerFrameIgnored(kind=kind))
        if session.ignored[kind] == 1:
            extra: dict[str, Any] = {"worker_id": session.worker_id or None}
            _log.warning("frame ignored: %s (%r)", kind, cut(detail, _MAX_ID), extra=extra)
        return []


def _cut(text: str | None) -> str | None:
    return None if text is None else cut(text, MAX_TEXT)
