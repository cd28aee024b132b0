"""What hides a module of the standard library is refused by its name, before anything fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vsdk_trio.system.standard_library import NEEDED, require_standard_library

LOADED = """
import sys
import importlib, pkgutil, vsdk_trio
for found in pkgutil.walk_packages(vsdk_trio.__path__, "vsdk_trio."):
    # Not what is loaded by programs only, or needs an extra.
    if not found.name.startswith(("vsdk_trio.testing", "vsdk_trio.cli", "vsdk_trio.rooms")):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
import vsdk_trio.rooms.loopback, hypercorn.trio, starlette.applications, prometheus_client, httpcore
for name in sys.modules:
    if name in sys.stdlib_module_names and name not in sys.builtin_module_names:
        print(name)
"""
# Loaded before any file of a program could be taken for them; or a private part of another.
ALWAYS_THERE = {
    *("abc", "codecs", "encodings", "genericpath", "io", "ntpath", "os", "posixpath", "site"),
    *("stat", "zipimport", "grp", "pwd"),
}


@pytest.mark.real
@pytest.mark.usefixtures("unmeasured")
def test_all_that_is_needed_is_known() -> None:
    command = [sys.executable, "-I", "-c", LOADED]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    loaded = {name for name in done.stdout.split() if not name.startswith("_")}
    assert loaded - ALWAYS_THERE - NEEDED == set()


@pytest.fixture
def first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return tmp_path


@pytest.mark.parametrize("name", ["quopri.py", "quopri"])
def test_a_file_or_package_that_hides_one(
    first: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "quopri", raising=False)
    if name == "quopri":
        (first / name).mkdir()
        (first / name / "__init__.py").touch()
    else:
        (first / name).touch()
    with pytest.raises(ImportError, match=f"{first / name} hides the library 'quopri' of Python"):
        require_standard_library()


@pytest.mark.parametrize("name", ["test.py", "code.py", "agent.py", "queue.txt", "queue.pyi"])
def test_what_hides_nothing_that_is_needed(first: Path, name: str) -> None:
    (first / name).touch()
    require_standard_library()


def test_a_directory_that_is_no_package_hides_nothing(first: Path) -> None:
    (first / "queue").mkdir()
    require_standard_library()


def test_what_is_loaded_already_is_not_hidden(first: Path) -> None:
    (first / "socket.py").touch()
    assert "socket" in sys.modules
    require_standard_library()


@pytest.mark.parametrize("path", [[], ["/no/such/directory"], ["/no/such.zip"]])
def test_a_path_that_begins_with_nothing(path: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", path)
    require_standard_library()
