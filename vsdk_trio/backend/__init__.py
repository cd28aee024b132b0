"""The link to the registry, and every name of the reference's `agents.backend`."""
