from __future__ import annotations

import attrs
import pytest

from vsdk_trio.control import frames as _typed
from vsdk_trio.control.frames import JobInfo
from vsdk_trio.errors import FrameError


def test_a_job_survives_the_round_trip() -> None:
    job = JobInfo(
        job_id="j-1",
        room_id="r-1",
        token="s3cret",
        room_options={"name": "Agent"},
        metadata={"n": 1},
        permissions={"hidden": True},
        wait=True,
    )
    assert JobInfo.from_dict(job.to_dict() | {"from a newer worker": 1}) == job


def test_a_job_does_not_show_its_token() -> None:
    job = JobInfo(job_id="j-1", token="s3cret", room_options={"auth_token": "s3cret"})
    assert "s3cret" not in repr(job)


def test_a_job_without_an_id_or_with_wrong_types_is_refused() -> None:
    with pytest.raises(FrameError, match="job: job_id is missing"):
        JobInfo.from_dict({})
    with pytest.raises(FrameError, match="job: wait must be a boolean, got str"):
        JobInfo.from_dict({"job_id": "j-1", "wait": "yes"})


def test_every_field_of_a_job_has_a_reader() -> None:
    assert {str(field.type) for field in attrs.fields(JobInfo)} <= set(_typed._READERS)
