"""The command that installs an extra is one that works where the package came from."""

from __future__ import annotations

from typing import Any

import pytest
from packaging.requirements import Requirement

from vsdk_trio.options.extras import arguments, how_to_install


@pytest.mark.parametrize(
    ("came_from", "command"),
    [
        ({}, "'vsdk-trio[otel]'"),
        ({"url": "file:///a/b", "dir_info": {"editable": True}}, "-e '/a/b[otel]'"),
        ({"url": "file:///a/b%20c", "dir_info": {}}, "'/a/b c[otel]'"),
        (
            {"url": "file:///a/vsdk_trio-1-py3-none-any.whl", "archive_info": {}},
            "'vsdk-trio[otel] @ file:///a/vsdk_trio-1-py3-none-any.whl'",
        ),
        (
            {"url": "https://git.example/v", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            "'vsdk-trio[otel] @ git+https://git.example/v@abc'",
        ),
    ],
)
def test_the_command_fits_where_it_came_from(came_from: dict[str, Any], command: str) -> None:
    assert arguments("otel", came_from) == command
    if " @ " in command:
        assert Requirement(command.strip("'")).extras == {"otel"}


def test_here_it_names_what_is_installed_here() -> None:
    said = how_to_install("videosdk")
    assert said.startswith("python -m pip install ")
    assert "[videosdk]" in said
