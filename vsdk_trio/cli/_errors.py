"""What a command says when it cannot do what it was asked to: a text, and an exit code."""

from __future__ import annotations

from ..errors import VsdkTrioError
from ..system.stopping import ExitCode


class CommandError(VsdkTrioError):
    """A command cannot go on; `code` is what the program ends with."""

    def __init__(self, message: str, code: ExitCode = ExitCode.ERROR) -> None:
        super().__init__(message)
        self.code = code
