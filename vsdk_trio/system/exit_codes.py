"""With which code a program of ours ends, and what each code means. A leaf."""

from __future__ import annotations

from enum import IntEnum

from ..errors import (
    OptionsError,
    RegistrationRefusedError,
    RegistryUnreachableError,
    TokenError,
    VsdkTrioError,
)


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
    """The exit code that tells what went wrong."""
    match error:
        case OptionsError() | TokenError():
            return ExitCode.USAGE
        case RegistrationRefusedError() | RegistryUnreachableError():
            return ExitCode.REGISTRY
        case _:
            return ExitCode.ERROR
