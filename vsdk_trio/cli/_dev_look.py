"""`python -m vsdk_trio.cli._dev_look FD AGENT`: load an agent as a worker would, and describe it.

Writes to the descriptor FD, as JSON, what only the worker itself uses of it, and nothing that is
secret; to stderr why it cannot be loaded. Its own process, because loading runs the user's code,
which may print whatever it likes.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any, NoReturn

import attrs

from .._masking import hide_environment, mask
from ..errors import VsdkTrioError
from ..system.stopping import exit_code_of
from ..worker_job import WorkerJob
from ._agent import find_job
from ._errors import CommandError


def main() -> None:
    """Load the agent that the command line names."""
    hide_environment(os.environ)
    out, agent = int(sys.argv[1]), sys.argv[2]
    os.set_inheritable(out, False)
    try:
        answer = _described(find_job(agent))
    except VsdkTrioError as error:
        print(mask(str(error)), file=sys.stderr)
        _end(error.code if isinstance(error, CommandError) else exit_code_of(error))
    with open(out, "w", encoding="utf-8") as file:
        json.dump(answer, file)
    _end(0)


def _end(code: int) -> NoReturn:
    """End at once: threads that the agent's module has started must not be waited for."""
    sys.stderr.flush()
    os._exit(code)


def _described(job: WorkerJob) -> dict[str, str]:
    """Each thing that a worker reads once, as a text that is the same as long as it is."""
    seen = {
        f"Options.{field.name}": _text(getattr(job.options, field.name))
        for field in attrs.fields(type(job.options))
        if field.repr
    }
    wire, _ = job.context().room_options.to_wire()
    seen |= {f"RoomOptions.{name}": repr(value) for name, value in wire.items()}
    return seen | {"the entrypoint": job.entrypoint.__qualname__}


def _text(value: Any) -> str:
    if callable(value):  # its repr has an address, which differs each time
        return str(getattr(value, "__qualname__", type(value).__name__))
    return repr(value)


if __name__ == "__main__":
    main()
