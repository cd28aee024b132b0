"""The private names of the published package that `runner/aio/published.py` uses are there."""

from __future__ import annotations

import asyncio
from importlib.metadata import version

import pytest
from packaging.requirements import Requirement

from vsdk_trio.control.frames import JobInfo
from vsdk_trio.options.room import RoomOptions, TransportMode
from vsdk_trio.runner.aio import published
from vsdk_trio.runner.job_context import JobContext, get_current_job_context

# Of what the package imports.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


async def _make(ctx: JobContext) -> object:
    theirs = published.make_context(ctx, TransportMode.WEBSOCKET, asyncio.get_running_loop())
    with published.living_in(theirs):
        from videosdk.agents.job import get_current_job_context as current

        assert current() is theirs
    published.Joining(theirs)
    await published.shut_down(theirs)
    return theirs


def test_a_context_is_made_entered_and_shut_down() -> None:
    assert get_current_job_context() is None
    ctx = JobContext(room_options=RoomOptions(room_id="r"), job=JobInfo(job_id="j"))
    asyncio.run(_make(ctx))


def test_the_installed_version_is_within_the_bound() -> None:
    assert version("videosdk-agents") in Requirement(published.VERSIONS).specifier
