"""`vsdk-trio run`."""

from __future__ import annotations

from ._flags import Given, with_options
from ._options import Agent, RegistryUrl


@with_options(leave_out=("register",))
def run(agent: Agent, given: Given, registry: RegistryUrl = None) -> None:
    """Serve a registry with an agent: a file, or a module, as it is.

    AGENT is FILE.py or package.module, and what counts is the WorkerJob that is made there, or
    the function `entrypoint`; FILE.py:NAME and package.module:NAME name another. Its last line may
    be `job.start()`. Flags win over the environment, and both over the agent's own Options.

    The token comes from the agent's Options, VSDK_TRIO_AUTH_TOKEN or VIDEOSDK_AUTH_TOKEN, or is
    made from VIDEOSDK_API_KEY and VIDEOSDK_SECRET_KEY; a proxy from VSDK_TRIO_HTTP_PROXY.

    SIGTERM drains, Ctrl-C stops the jobs. Ends with 0, 1 (error), 2 (usage), 3 (jobs had to be
    killed) or 4 (the registry cannot be reached, or refuses).
    """
    from ._agent import agent_job

    agent_job(agent, given, registry=registry, register=True).start()
