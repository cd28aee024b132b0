"""What a runner is told about its job: the content of a `Start` frame.

Pure. Knows neither the registry's messages nor the runner's `JobContext`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from ._typed import from_object, prepare, to_object


@attrs.frozen(kw_only=True)
class JobInfo:
    """One job, as data that can travel. Read-only for user code, by way of `JobContext.job`."""

    job_id: str
    room_id: str = ""
    room_name: str = ""
    job_type: str = ""
    agent_id: str = ""
    namespace: str = ""
    worker_id: str = ""
    url: str = ""
    token: str = attrs.field(default="", repr=False)
    room_options: dict[str, Any] = attrs.field(factory=dict, repr=False)
    """The effective room options, in wire form; may hold a token."""
    metadata: dict[str, Any] = attrs.field(factory=dict)
    permissions: dict[str, Any] = attrs.field(factory=dict)
    wait: bool = False
    """Report the job as running only once its room is joined."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON object for `Start.job`."""
        return to_object(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> JobInfo:
        """Read `Start.job`; unknown keys are ignored. Raises `FrameError` for wrong types."""
        return from_object(cls, value, "job")


prepare(JobInfo)
