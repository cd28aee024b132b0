"""A short soak: what the long one does, with as many faults as fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from .soak import run_soak

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(240)]


async def test_many_jobs_through_one_worker_while_things_go_wrong(tmp_path: Path) -> None:
    found = await run_soak(tmp_path, jobs=200, seed=20, fault_seconds=0.7, looks=1, seconds=60)
    assert found == []
