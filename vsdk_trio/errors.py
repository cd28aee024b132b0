"""Every exception that vsdk_trio raises on purpose.

A leaf: imports nothing of the project. Each class also derives from the built-in that a caller
would expect (`ValueError` for bad input, `RuntimeError` where the reference documents one), so
that code written for the reference keeps catching what it caught.
"""

from __future__ import annotations

from enum import StrEnum


class VsdkTrioError(Exception):
    """Base of all errors raised by vsdk_trio; its text is meant for a person."""


class OptionsError(VsdkTrioError, ValueError, TypeError):
    """An option is unknown, or has a value that cannot work; names the nearest right one.

    A `TypeError` too, because that is what a dataclass of the reference raises for a keyword it
    does not know.
    """

    ends_program = False
    """Whether it is the whole story: a script that it ends says it in one line."""


class EntrypointError(VsdkTrioError, TypeError):
    """The entrypoint cannot be run by a job process; says why and how to fix it."""


class EventLoopError(VsdkTrioError, RuntimeError):
    """What runs an event loop of its own was called inside of a running one."""


class WireError(VsdkTrioError, ValueError):
    """A message of the registry protocol is malformed; carries the path to the culprit."""


class FrameError(VsdkTrioError, ValueError):
    """A line of the control channel is not a frame."""


class IllegalTransitionError(VsdkTrioError, RuntimeError):
    """An event arrived in a state that has no place for it; the state is unchanged."""


class TokenError(VsdkTrioError, ValueError):
    """There is no usable VideoSDK token; says where one is looked for."""


class NotConnectedError(VsdkTrioError, RuntimeError):
    """A message was to be sent, but no session with the registry is open."""


class ConnectError(VsdkTrioError, OSError):
    """One attempt to reach the registry failed; another may succeed."""


class CertificateError(ConnectError):
    """The peer's certificate is not accepted; says why, and what to do."""


class ApiError(ConnectError):
    """A REST call failed, or was answered with an error or with junk.

    `status` is the HTTP status, or 0 when there was no answer; `retry_after` the seconds that the
    answer asked to wait, if it did.
    """

    def __init__(self, message: str, *, status: int = 0, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class RegistrationRefusedError(VsdkTrioError, RuntimeError):
    """The registry refuses this worker (401, 403 or `success: false`); retrying cannot help."""


class RegistryUnreachableError(VsdkTrioError, RuntimeError):
    """All retries are used up without a session with the registry."""


class PortInUseError(VsdkTrioError, OSError):
    """The address to listen on is taken."""


class StateDirInUseError(VsdkTrioError, OSError):
    """Another worker of the same agent has its journal in the state directory."""


class JournalError(VsdkTrioError, OSError):
    """A journal cannot be read or written; a worker goes on without."""


class Resource(StrEnum):
    """What a machine or a container can run out of."""

    THREADS = "threads"
    PROCESSES = "processes"
    DESCRIPTORS = "file descriptors"
    MEMORY = "memory"
    DISK = "disk space"


class ShortageError(VsdkTrioError, OSError):
    """Something could not be done for want of a resource; later it may work.

    `resource` says of which; the text says what could not be done, and which limit to raise.
    """

    def __init__(self, resource: Resource, message: str) -> None:
        super().__init__(message)
        self.strerror = message
        self.resource = resource


class StartFailure(StrEnum):
    """Why there is no job process; the words of counters and logs."""

    NOT_STARTED = "not started"
    INIT_FAILED = "failed to initialize"
    DIED = "died"
    TOO_LATE = "too late"
    CLOSED = "closed"


class JobProcessError(VsdkTrioError, RuntimeError):
    """A job process could not be started or made ready; carries its last words.

    `cause` is the class of what went wrong; `passes`, whether another attempt may succeed;
    `summary`, the text in one line.
    """

    def __init__(
        self,
        message: str,
        cause: StartFailure = StartFailure.NOT_STARTED,
        *,
        passes: bool = False,
        summary: str = "",
    ) -> None:
        super().__init__(message)
        self.cause = cause
        self.passes = passes
        self.summary = " ".join((summary or message).split())


class PreflightError(VsdkTrioError, RuntimeError):
    """No job could be run here, so the worker does not register; says why, and what to do."""


class AioThreadError(VsdkTrioError, RuntimeError):
    """An asyncio thread has ended, or something inside it cancelled what Trio waits for."""


class RoomError(VsdkTrioError, RuntimeError):
    """A room cannot be opened, joined or used as asked."""


class RoomPermissionError(RoomError, PermissionError):
    """The job's permissions do not allow what was asked of the room."""
