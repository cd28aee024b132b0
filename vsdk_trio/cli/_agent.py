"""An agent as the command line wants it: the user's `WorkerJob` under the options that win.

Knows the order in which options win; not what is done with the job.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import attrs

from .._option_texts import environment_values
from ..worker_job import WorkerJob
from ._agent_file import find_job


def agent_job(
    text: str,
    given: Mapping[str, Any],
    *,
    defaults: Mapping[str, Any] | None = None,
    **fixed: Any,
) -> WorkerJob:
    """The job that `text` names, loaded once; its options are its own, and then what wins.

    `defaults` wins over its own, the environment over those, then `given`, then `fixed`. Raises
    `CommandError` for what cannot be found or loaded, `OptionsError` for a value that cannot work.
    """
    job = find_job(text)
    environment = environment_values(type(job.options), os.environ)
    values = {**(defaults or {}), **environment, **given, **fixed}
    job.options = attrs.evolve(job.options, **values)
    return job
