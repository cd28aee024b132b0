"""The error of a command, with its exit code; and JSON that a person typed as an argument."""

from __future__ import annotations

import json
from typing import Any

from ..errors import VsdkTrioError
from ..system.stopping import ExitCode


class CommandError(VsdkTrioError):
    """A command cannot go on; `code` is what the program ends with."""

    def __init__(self, message: str, code: ExitCode = ExitCode.ERROR) -> None:
        super().__init__(message)
        self.code = code


def json_object(text: str, what: str) -> dict[str, Any]:
    """Read an object; `what` is what errors call it. Raises `CommandError` for anything else."""
    try:
        parsed = json.loads(text, parse_constant=_refuse_constant)
    except ValueError as error:
        raise CommandError(f"{what} is not JSON: {error}", ExitCode.USAGE) from None
    if not isinstance(parsed, dict):
        raise CommandError(
            f"{what} must be a JSON object, not {type(parsed).__name__}", ExitCode.USAGE
        )
    return parsed


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
