"""`vsdk-trio workers`."""

from __future__ import annotations

from ._options import DEFAULT_REGISTRY_URL, Json, RegistryUrl


def workers(registry: RegistryUrl = DEFAULT_REGISTRY_URL, as_json: Json = False) -> None:
    """List the workers that a registry knows, with their load and their jobs."""
    from ._client import Peer, run
    from ._top import show_workers

    run(show_workers, Peer(registry), as_json)
