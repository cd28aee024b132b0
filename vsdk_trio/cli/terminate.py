"""`vsdk-trio terminate`."""

from __future__ import annotations

import os
from typing import Annotated
from urllib.parse import quote

import typer

from ._options import CaFile, JobId, Json, LocalRegistryUrl


def terminate(
    job_id: JobId,
    reason: Annotated[
        str, typer.Option(help="What the job is told.")
    ] = "terminated from the command line",
    registry: LocalRegistryUrl = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Ask for the end of a job."""
    from ._client import registry_at, run
    from ._output import harmless, print_json

    path = f"/v2/agent/jobs/{quote(os.fsencode(job_id), safe='')}/terminate"
    answer = run(registry_at(registry, ca_file).ask, "POST", path, {"reason": reason})
    if as_json:
        print_json(answer)
    else:
        known = answer.get("job")
        whole = known.get("job_id") if isinstance(known, dict) else None
        print(harmless(f"{whole or job_id} {answer.get('message')}"))
