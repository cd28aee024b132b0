"""Observations of a registry: its workers, what it offers and assigns, how dispatches and jobs end.

Values only; see the package for what they may hold.
"""

from __future__ import annotations

from typing import TypeAlias

import attrs


@attrs.frozen(kw_only=True)
class WorkerJoined:
    """A worker has registered; `is_known` where its id was here before."""

    worker_id: str
    agent_id: str
    is_known: bool


@attrs.frozen(kw_only=True)
class WorkerLeft:
    """The link of a registered worker is gone."""

    worker_id: str


@attrs.frozen(kw_only=True)
class WorkerRefused:
    """A registration was refused."""

    reason: str


@attrs.frozen(kw_only=True)
class WorkerFrameIgnored:
    """A worker sent a frame that means nothing here; `kind` is one of a few words."""

    kind: str


@attrs.frozen(kw_only=True)
class OfferMade:
    """A job was offered to a worker."""

    job_id: str
    worker_id: str


@attrs.frozen(kw_only=True)
class OfferDecided:
    """A worker has answered an offer."""

    job_id: str
    worker_id: str
    is_accepted: bool


@attrs.frozen(kw_only=True)
class DispatchSettled:
    """A dispatch is decided, after `seconds`: assigned where `failure` is None."""

    job_id: str | None
    failure: str | None
    """A `DispatchFailure`, in the words of the wire."""
    seconds: float


@attrs.frozen(kw_only=True)
class TerminationSent:
    """A worker was asked to stop a job."""

    job_id: str
    worker_id: str


@attrs.frozen(kw_only=True)
class JobEnded:
    """A job has ended, or is found to have ended otherwise. Lengths are None where unknown."""

    job_id: str
    state: str
    is_presumed: bool
    """Concluded from a silence of its worker, not reported."""
    until_running_seconds: float | None
    """From its assignment until it was reported as running."""
    seconds: float
    """Since it was dispatched."""


RegistryObservation: TypeAlias = (
    WorkerJoined
    | WorkerLeft
    | WorkerRefused
    | WorkerFrameIgnored
    | OfferMade
    | OfferDecided
    | DispatchSettled
    | TerminationSent
    | JobEnded
)
