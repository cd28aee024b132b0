"""One job in this process: what the command line says becomes the context of direct mode.

Knows room options and contexts; not how a job runs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from ..errors import OptionsError, VsdkTrioError
from ..options.room import RoomOptions
from ..runner.outcome import from_the_agent_on
from ..system.stopping import ExitCode
from ..telemetry.logs.tracebacks import print_masked
from ._agent import agent_job
from ._json import json_object


def run_one_job(
    agent: str,
    given: Mapping[str, Any],
    room_given: Mapping[str, Any],
    *,
    registry: str | None,
    room_file: str | None,
    metadata: str | None,
) -> None:
    """Run the agent's entrypoint to its end; raises `SystemExit` where it raises.

    Arguments: `room_given`, room options by name; `room_file`, more of them as JSON, which those
    win over; `metadata`, an object as JSON.
    """
    job = agent_job(agent, given, registry=registry, register=False)
    context = job.context()
    in_file = {} if room_file is None else json_object(room_file, "the file of --room-options")
    context.room_options = _room_options(context.room_options, in_file, room_given)
    context.metadata = {**context.metadata, **json_object(metadata or "{}", "--metadata")}
    job.jobctx = context
    try:
        job.start()
    except VsdkTrioError:
        raise
    except Exception as error:
        # The entrypoint's own. What called it is of no use to whom it belongs to.
        print_masked(type(error), from_the_agent_on(error), error.__traceback__)
        sys.exit(ExitCode.ERROR)


def _room_options(
    own: RoomOptions, in_file: Mapping[str, Any], given: Mapping[str, Any]
) -> RoomOptions:
    merged, unknown = own.merged({**in_file, **given})
    if unknown:
        raise OptionsError(f"there is no room option {json.dumps(unknown[0])}")
    return merged
