"""`vsdk-trio terminate`."""

from __future__ import annotations

import os
from typing import Annotated
from urllib.parse import quote

import typer

from ._options import DEFAULT_REGISTRY_URL, JobId, Json, RegistryUrl


def terminate(
    job_id: JobId,
    reason: Annotated[
        str, typer.Option(help="What the job is told.")
    ] = "terminated from the command line",
    registry: RegistryUrl = DEFAULT_REGISTRY_URL,
    as_json: Json = False,
) -> None:
    """Ask for the end of a job."""
    from ._client import call
    from ._output import harmless, print_json

    path = f"/v2/agent/jobs/{quote(os.fsencode(job_id), safe='')}/terminate"
    answer = call(registry, "POST", path, {"reason": reason})
    if as_json:
        print_json(answer)
    else:
        known = answer.get("job")
        whole = known.get("job_id") if isinstance(known, dict) else None
        print(harmless(f"{whole or job_id} {answer.get('message')}"))
