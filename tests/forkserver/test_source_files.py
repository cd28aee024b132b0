"""Whether a template's code is still what is on disk."""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vsdk_trio.forkserver.program.fork_safety import SourceFiles

# Modules of tests before that were loaded from directories which are gone would count.
LONG_AGO = 1_000_000_000_000_000_000


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "watched_module.py"
    path.write_text("A = 1\n")
    os.utime(path, ns=(LONG_AGO, LONG_AGO))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield path
    sys.modules.pop("watched_module", None)


def load() -> SourceFiles:
    before, since = dict(sys.modules), time.time_ns()
    importlib.import_module("watched_module")
    return SourceFiles(before, since)


def test_what_is_unchanged_is_unchanged(module: Path) -> None:
    assert load().changed() is None


@pytest.mark.parametrize("what", ["content", "time", "replaced", "deleted"])
def test_a_change_is_seen(module: Path, what: str) -> None:
    sources = load()
    match what:
        case "content":
            module.write_text("A = 2222\n")
        case "time":
            os.utime(module)
        case "replaced":
            new = module.with_suffix(".new")
            new.write_text("A = 2\n")
            os.utime(new, ns=(LONG_AGO, LONG_AGO))
            new.replace(module)
        case "deleted":
            module.unlink()
    assert sources.changed() == str(module)


def test_a_name_that_another_module_had_before(module: Path) -> None:
    """As that of the main module, which `multiprocessing` gives to whatever is that."""
    before = {**sys.modules, "watched_module": sys}
    importlib.import_module("watched_module")
    sources = SourceFiles(before, time.time_ns())
    module.write_text("A = 2222\n")
    assert sources.changed() == str(module)


def test_what_was_written_while_it_was_loaded_counts_as_changed(module: Path) -> None:
    module.write_text("import os\nwith open(__file__, 'a') as file: file.write('# more\\n')\n")
    os.utime(module, ns=(LONG_AGO, LONG_AGO))
    assert load().changed() == str(module)


def test_of_installed_packages_the_directory_counts(tmp_path: Path, module: Path) -> None:
    packages = tmp_path / "site-packages"
    (packages / "installed").mkdir(parents=True)
    inside = packages / "installed" / "watched_module.py"
    module.rename(inside)
    os.utime(packages, ns=(LONG_AGO, LONG_AGO))
    sys.path.insert(0, str(inside.parent))
    try:
        importlib.invalidate_caches()
        sources = load()
        inside.write_text("A = 2222\n")
        assert sources.changed() is None
        (packages / "installed-2.0.dist-info").mkdir()
        assert sources.changed() == str(packages)
    finally:
        sys.path.remove(str(inside.parent))


def test_the_standard_library_is_not_looked_at(module: Path) -> None:
    module.write_text("import wave\n")
    os.utime(module, ns=(LONG_AGO, LONG_AGO))
    sys.modules.pop("wave", None)
    assert load()._states.keys() == {str(module)}
