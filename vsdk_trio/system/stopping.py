"""How a program ends: what each request to end does at each stage, and the exit codes.

There is one table, for every program of the project: a worker, direct mode, `connect` and `dev`.
Time comes in as `now`, in seconds.
"""

from __future__ import annotations

import math
import signal
from enum import IntEnum, StrEnum
from typing import Final

from ..errors import (
    OptionsError,
    RegistrationRefusedError,
    RegistryUnreachableError,
    TokenError,
    VsdkTrioError,
)

SECOND_INTERRUPT_SECONDS: Final = 0.5
"""A SIGINT that comes sooner after the first is the same Ctrl-C, passed on by a wrapper."""


class Stage(IntEnum):
    """How far a program has come on its way to its end, from gentle to harsh."""

    SERVING = 0
    DRAINING = 1  # takes nothing new, lets what runs finish
    STOPPING = 2  # stops what runs, politely
    HURRYING = 3  # every grace is cut short


class Request(StrEnum):
    """A request to end, by a signal or in another way."""

    DRAIN = "drain"
    STOP = "stop"
    HURRY = "hurry"


_SERVING, _DRAINING, _STOPPING, _HURRYING = Stage
_DRAIN, _STOP, _HURRY = Request

TABLE: Final = {
    (_SERVING, _DRAIN): _DRAINING,
    (_SERVING, _STOP): _STOPPING,
    (_SERVING, _HURRY): _HURRYING,
    (_DRAINING, _DRAIN): _DRAINING,
    (_DRAINING, _STOP): _STOPPING,
    (_DRAINING, _HURRY): _HURRYING,
    (_STOPPING, _DRAIN): _STOPPING,
    (_STOPPING, _STOP): _STOPPING,
    (_STOPPING, _HURRY): _HURRYING,
    (_HURRYING, _DRAIN): _HURRYING,
    (_HURRYING, _STOP): _HURRYING,
    (_HURRYING, _HURRY): _HURRYING,
}
"""The next stage for each stage and request. A repeated request is not harsher than one."""


class Stopping:
    """The stage that a program has reached, and when its first SIGINT came."""

    def __init__(self, stage: Stage = Stage.SERVING, first_interrupt: float = math.inf) -> None:
        # Without attrs: the command line loads this module even for `--help`, and not attrs.
        self.stage = stage
        self.first_interrupt = first_interrupt

    def ask(self, request: Request) -> bool:
        """Take a request, and return whether it has changed the stage."""
        before = self.stage
        self.stage = TABLE[before, request]
        return self.stage is not before

    def request_of(self, signum: int, now: float) -> Request:
        """Return the request of a signal. Only a person's second Ctrl-C requests a hurry."""
        if signum != signal.SIGINT:
            return Request.DRAIN
        if now - self.first_interrupt >= SECOND_INTERRUPT_SECONDS:
            return Request.HURRY
        self.first_interrupt = min(self.first_interrupt, now)
        return Request.STOP


class ExitCode(IntEnum):
    """How a program ends."""

    CLEAN = 0
    ERROR = 1
    USAGE = 2
    JOBS_KILLED = 3
    REGISTRY = 4
    """It cannot be reached, or refuses."""
    JOB_FAILED = 5
    """The job that was waited for."""
    JOB_CANCELLED = 6
    INTERRUPTED = 130
    """By Ctrl-C, as every shell says it."""


def exit_code_of(error: VsdkTrioError) -> ExitCode:
    """Return the exit code for an error."""
    match error:
        case OptionsError() | TokenError():
            return ExitCode.USAGE
        case RegistrationRefusedError() | RegistryUnreachableError():
            return ExitCode.REGISTRY
        case _:
            return ExitCode.ERROR
