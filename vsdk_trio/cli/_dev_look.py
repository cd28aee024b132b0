"""`python -m vsdk_trio.cli._dev_look AGENT`: load an agent as a worker would, and describe it.

Writes to stdout, as JSON, what only the worker itself uses of it, and nothing that is secret; to
stderr why it cannot be loaded. Its own process, because loading runs the user's code.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import attrs

from .._exit_codes import exit_code_of
from .._masking import hide_environment, mask
from ..errors import VsdkTrioError
from ..worker_job import WorkerJob
from ._agent_file import find_job
from ._errors import CommandError


def main() -> None:
    """Load the agent that the command line names."""
    hide_environment(os.environ)
    out = os.dup(1)
    os.dup2(2, 1)  # what the user's code prints is not our answer
    try:
        answer = _described(find_job(sys.argv[1]))
    except VsdkTrioError as error:
        print(mask(str(error)), file=sys.stderr)
        sys.exit(error.code if isinstance(error, CommandError) else exit_code_of(error))
    with open(out, "w", encoding="utf-8") as file:
        json.dump(answer, file)


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
