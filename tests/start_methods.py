"""How the programs that tests start make their job processes.

`TEST_START_METHOD` in the tests' own environment, so that one fixture reaches every helper.
"""

from __future__ import annotations

import os

import pytest

VARIABLE = "TEST_START_METHOD"
START_METHODS = (
    "forkserver",
    # Hundreds of tests with real programs: the quick suite has them with what workers use here.
    pytest.param("spawn", marks=pytest.mark.slow),
)


def start_method() -> str:
    """That of the test that runs; by default that of `Options`."""
    return os.environ.get(VARIABLE, "auto")


def templates() -> int:
    """How many processes a worker has for it, besides its guardian and its job processes."""
    return 0 if start_method() == "spawn" else 1
