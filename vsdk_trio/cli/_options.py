"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

RegistryUrl = Annotated[
    str,
    typer.Option(
        "--registry", envvar="VSDK_TRIO_REGISTRY_URL", metavar="URL", help="Where the registry is."
    ),
]
DEFAULT_REGISTRY_URL = "http://127.0.0.1:8080"

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]

JobId = Annotated[
    str, typer.Argument(metavar="JOB_ID", help="The job's id, or a beginning that no other has.")
]

Agent = Annotated[
    str,
    typer.Argument(metavar="AGENT", help="FILE.py or MODULE, with :NAME where need be."),
]

Metadata = Annotated[str | None, typer.Option(metavar="JSON", help="An object for the job.")]

Every = Annotated[
    float,
    typer.Option(metavar="SECONDS", min=0.5, help="How long to wait between two looks."),
]

# In the environment and nowhere else: everybody on the machine can read a command line.
TOKEN_VARIABLE = "VSDK_TRIO_REGISTRY_TOKEN"
