"""The dispatcher's decisions as actions, and why a dispatch can fail.

Pure values. The dispatcher decides and returns these; the core turns them into frames and wakes
the waiting tasks.
"""

from __future__ import annotations

import enum

import attrs

from ..errors import VsdkTrioError
from .ledger import Job


class DispatchFailure(enum.Enum):
    """Why a dispatch did not get its job to a worker; the values are the wire's words."""

    AGENT_NOT_DEPLOYED = "Agent Not Deployed"
    NO_WORKERS_REGISTERED = "No Workers Registered"
    NO_WORKERS_AVAILABLE = "No workers available"
    TERMINATED = "Job Terminated"
    TOO_MANY_JOBS = "Too Many Jobs"
    CLOSING = "Registry Closing"


class DispatchError(VsdkTrioError):
    """The job was not assigned; `failure` says why, `job` is its record where there is one."""

    def __init__(self, failure: DispatchFailure, job: Job | None = None) -> None:
        super().__init__(failure.value)
        self.failure = failure
        self.job = job


class UnknownJobError(VsdkTrioError, LookupError):
    """No job of that id is known, or it ended so long ago that it is forgotten."""


class AmbiguousJobError(VsdkTrioError, LookupError):
    """Several jobs have an id that begins like this."""


@attrs.frozen
class Offer:
    """Ask the worker whether it can take the job."""

    worker_id: str
    job: Job


@attrs.frozen
class Assign:
    """Give the job to the worker."""

    worker_id: str
    job: Job


@attrs.frozen
class Terminate:
    """Tell the worker to stop the job."""

    worker_id: str
    job_id: str
    reason: str


@attrs.frozen
class Settled:
    """The dispatch is decided: assigned where `failure` is None."""

    job: Job
    failure: DispatchFailure | None = None


@attrs.frozen
class Ended:
    """The job has ended, or the record of how it ended was corrected."""

    job: Job


Action = Offer | Assign | Terminate | Settled | Ended
