"""`vsdk-trio workers`."""

from __future__ import annotations

from ._options import CaFile, Json, LocalRegistryUrl


def workers(
    registry: LocalRegistryUrl = None, ca_file: CaFile = None, as_json: Json = False
) -> None:
    """List the workers that a registry knows, with their load and their jobs."""
    from ._client import registry_at, run
    from ._top import show_workers

    run(show_workers, registry_at(registry, ca_file), as_json)
