"""An agent as the command line wants it: the user's `WorkerJob` under the options that win.

Knows the order in which options win; not what is done with the job.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import attrs

from ..options.registry_address import FLAG, Source, address_options
from ..options.texts import environment_values
from ..worker_job import WorkerJob
from ._agent_file import find_job


def agent_job(
    text: str,
    given: Mapping[str, Any],
    *,
    registry: str | None = None,
    defaults: Mapping[str, Any] | None = None,
    **fixed: Any,
) -> WorkerJob:
    """The job that `text` names, loaded once, with the options that win.

    Args:
        text: as a command takes it.
        given: flags, by option; they win over the environment.
        registry: the address that `--registry` has given.
        defaults: options that win over the agent's own, and that the environment wins over.
        fixed: options that win over all of them.

    Raises:
        CommandError: for what cannot be found or loaded.
        OptionsError: for a value that cannot work.
    """
    job = find_job(text)
    chosen = chosen_options(type(job.options), given, registry)
    values = {**(defaults or {}), **chosen, **fixed}
    job.options = attrs.evolve(job.options, **values)
    return job


def chosen_options(cls: type, given: Mapping[str, Any], registry: str | None) -> dict[str, Any]:
    """The options of `cls` that flags and environment give; see `agent_job`."""
    environment = environment_values(cls, os.environ)
    flags = Source(FLAG, registry, given)
    return environment | dict(given) | address_options(flags, Source.of_environment(os.environ))
