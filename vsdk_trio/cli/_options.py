"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

# Not typer's `envvar`: `_registry_address` decides between this and all others who say it.
RegistryUrl = Annotated[
    str | None,
    typer.Option(
        "--registry", metavar="URL", help="Where the registry is. ($VSDK_TRIO_REGISTRY_URL)"
    ),
]
DEFAULT_REGISTRY_URL = "http://127.0.0.1:8080"
LocalRegistryUrl = Annotated[
    str | None,
    typer.Option(
        "--registry",
        metavar="URL",
        help="Where the registry is. (default: http://127.0.0.1:8080; $VSDK_TRIO_REGISTRY_URL)",
    ),
]

CaFile = Annotated[
    str | None,
    typer.Option(
        "--ca-file",
        metavar="FILE",
        help="PEM file with the certificate authorities to trust. ($VSDK_TRIO_CA_FILE)",
    ),
]

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
