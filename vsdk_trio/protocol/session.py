"""One registered conversation on one socket, as a state machine.

Its states are AWAITING_REGISTRATION, REGISTERED and CLOSED. One object per socket, so that
reconnecting has no reset code. Knows neither the socket nor time: the text of each frame goes in,
and the one event that it means comes out.
"""

from __future__ import annotations

import enum
from typing import Final, TypeAlias

import attrs

from .._masking import peer_text
from ..errors import IllegalTransitionError, WireError
from .codec import Unknown, decode_from_registry
from .messages import (
    AvailabilityRequest,
    JobAssignment,
    JobTermination,
    JsonObject,
    ServerMessage,
    WorkerMessage,
    WorkerPong,
)

# What the registry wrote ends up in logs and counters: cut it.
_MAX_NAME_CHARS: Final = 64
_MAX_REASON_CHARS: Final = 500


class ProtocolSessionState(enum.Enum):
    """Where a session stands."""

    AWAITING_REGISTRATION = enum.auto()
    REGISTERED = enum.auto()
    CLOSED = enum.auto()


@attrs.frozen
class Registered:
    """The registry took the worker, under `worker_id`."""

    worker_id: str
    payload: JsonObject = attrs.field(factory=dict, repr=False)


@attrs.frozen
class RegistrationRefusal:
    """The registry does not want this worker; `message` says why."""

    message: str


@attrs.frozen
class IgnoredFrame:
    """A frame that means nothing here; `kind` is short and fit for counting, `detail` for a log."""

    kind: str
    detail: str


Inbound: TypeAlias = AvailabilityRequest | JobAssignment | JobTermination | WorkerPong
SessionEvent: TypeAlias = Registered | RegistrationRefusal | IgnoredFrame | Inbound


class ProtocolSession:
    """A session from its `registration`, which its owner sends first, to its end."""

    def __init__(self, registration: WorkerMessage) -> None:
        self.registration: Final = registration
        self._state = ProtocolSessionState.AWAITING_REGISTRATION

    def __repr__(self) -> str:
        return f"<ProtocolSession: {self._state.name}>"

    @property
    def state(self) -> ProtocolSessionState:
        """Where the session stands."""
        return self._state

    def received(self, text: str | bytes) -> SessionEvent:
        """Take the text of one frame; return the event that it means.

        Nothing that a registry can write raises: what is malformed, unknown or out of place is
        `IgnoredFrame`. A refusal closes the session. Raises `IllegalTransitionError` once closed.
        """
        if self._state is ProtocolSessionState.CLOSED:
            raise IllegalTransitionError("a frame was received on a closed session")
        try:
            message = decode_from_registry(text)
        except WireError as error:
            return IgnoredFrame("malformed", str(error))
        if isinstance(message, Unknown):
            name = peer_text(message.type, most=_MAX_NAME_CHARS)
            return IgnoredFrame(f"unknown: {name}", f"this version does not know the type {name!r}")
        if self._state is ProtocolSessionState.AWAITING_REGISTRATION:
            if isinstance(message, ServerMessage):
                return self._answered(message)
            return IgnoredFrame(
                f"early: {message.type}", "came before the answer to the registration"
            )
        if isinstance(message, ServerMessage):
            return IgnoredFrame("repeated: register", "came in a session that is registered")
        return message

    def closed(self) -> None:
        """Note the end of the socket. Again is no error: a refusal has closed the session too."""
        self._state = ProtocolSessionState.CLOSED

    def _answered(self, answer: ServerMessage) -> Registered | RegistrationRefusal:
        if not answer.success:
            self._state = ProtocolSessionState.CLOSED
            return RegistrationRefusal(self._reason(answer))
        self._state = ProtocolSessionState.REGISTERED
        # A registry that names no id has left the worker the one it came with.
        worker_id = answer.worker_id or self.registration.worker_id or ""
        return Registered(worker_id, answer.payload or {})

    def _reason(self, answer: ServerMessage) -> str:
        # A refusal may quote what it refuses.
        reason = peer_text(answer.message or "", most=_MAX_REASON_CHARS)
        return reason or "the registry gave no reason"
