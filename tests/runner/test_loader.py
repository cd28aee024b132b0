"""Loading by reference: modules, scripts, and what a recorded job brings along."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vsdk_trio.errors import EntrypointError
from vsdk_trio.jobs.entrypoint import EntrypointRef, parse
from vsdk_trio.options.room import RoomOptions
from vsdk_trio.runner import recording as _recording
from vsdk_trio.runner.job_context import JobContext
from vsdk_trio.runner.loader import Loaded, load, loading


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What loading changes in this process is put back."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    cwd = os.getcwd()
    modules = dict(sys.modules)
    yield
    os.chdir(cwd)
    for name in set(sys.modules) - set(modules):
        del sys.modules[name]
    sys.modules.update(modules)


class StandIn:
    """What a script records in place of a `WorkerJob`."""

    def __init__(self, entrypoint: Any, jobctx: Any) -> None:
        self.entrypoint = entrypoint
        self.jobctx = jobctx


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_module_of_a_package(tmp_path: Path) -> None:
    (tmp_path / "some_pkg").mkdir()
    write(tmp_path / "some_pkg" / "__init__.py", "")
    write(tmp_path / "some_pkg" / "agent.py", "class A:\n    @staticmethod\n    def f(): ...")
    reference = EntrypointRef(
        qualname="A.f",
        module="some_pkg.agent",
        sys_path=(str(tmp_path),),
        argv=("app", "x"),
        cwd=str(tmp_path),
    )
    function = load(reference)
    assert function is sys.modules["some_pkg.agent"].A.f
    assert sys.path[0] == str(tmp_path)
    assert sys.argv == ["app", "x"]
    assert os.getcwd() == os.path.realpath(tmp_path)


def test_a_package_run_with_dash_m_is_imported_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "main_pkg").mkdir()
    write(tmp_path / "main_pkg" / "__init__.py", "value = 1")
    text = "from . import value\nnames = [__name__]\ndef f(): return value"
    write(tmp_path / "main_pkg" / "__main__.py", text)
    reference = EntrypointRef(
        qualname="f", main_module="main_pkg.__main__", sys_path=(str(tmp_path),)
    )
    assert load(reference)() == 1
    assert sys.modules["main_pkg.__main__"].names == ["main_pkg.__main__"]


def test_a_script_is_loaded_once_for_two_functions(tmp_path: Path) -> None:
    text = "import sys\nassert __name__ == '__mp_main__'\nloads = []\nloads.append(1)\n"
    text += "def f(): return loads\ndef g(): return loads\n"
    path = write(tmp_path / "app.py", text)
    first, second = load(parse(f"{path}:f")), load(parse(f"{path}:g"))
    assert first() is second()
    assert first() == [1]
    assert first.__globals__ is vars(sys.modules["__main__"])


@pytest.mark.parametrize("name", ["missing", "Nothing.f", "value"])
def test_what_is_not_there_is_named(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / "app.py", "value = 1")
    with pytest.raises(EntrypointError, match=f"was loaded, but has no '{name}'"):
        load(parse(f"{path}:{name}"))


def test_a_directory_that_is_elsewhere_is_no_error(tmp_path: Path) -> None:
    path = write(tmp_path / "app.py", "def f(): ...")
    reference = EntrypointRef(qualname="f", main_path=str(path), cwd="/no/such/directory")
    cwd = os.getcwd()
    load(reference)
    assert os.getcwd() == cwd


def record(*jobs: StandIn) -> None:
    for job in jobs:
        _recording.record(job)


def load_recording(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> Loaded:
    path = write(tmp_path / "app.py", "def f(): ...\ndef g(): ...\n" + text)
    monkeypatch.setattr("builtins.StandIn", StandIn, raising=False)
    monkeypatch.setattr("builtins.record", record, raising=False)
    monkeypatch.setattr("builtins.contexts", contexts, raising=False)
    with loading(
        parse(f"{path}:f"),
        parse(f"{path}:g"),
        callback_seconds=3,
        started_at=1,
        live_options=True,
    ) as loaded:
        assert _recording.is_recording()
    assert not _recording.is_recording()
    return loaded


def test_a_context_is_made_only_for_what_cannot_travel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.StandIn", StandIn, raising=False)
    monkeypatch.setattr("builtins.record", record, raising=False)
    text = """
        def f(): ...
        def make_context(): raise OSError("the network was asked")
        record(StandIn(f, make_context))
    """
    path = write(tmp_path / "app.py", textwrap.dedent(text))
    with loading(parse(f"{path}:f"), callback_seconds=3, started_at=1) as loaded:
        assert loaded.recorded
        assert loaded.live_options is None


contexts = [JobContext(room_options=RoomOptions(name=name)) for name in "ab"]


@pytest.mark.parametrize(
    ("text", "recorded", "name"),
    [
        ("", False, None),
        ("record(StandIn(f, contexts[0]))", True, "a"),
        ("record(StandIn(f, lambda: contexts[1]))", True, "b"),
        ("record(StandIn(g, contexts[0]), StandIn(f, contexts[1]))", True, "b"),
        ("record(StandIn(g, contexts[0]), StandIn(print, contexts[1]))", True, "b"),
        ("record(StandIn(f, None))", True, None),
        ("record(StandIn(f, lambda: 3))", True, None),
    ],
)
def test_the_recorded_job_brings_its_live_options(
    text: str, recorded: bool, name: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_recording(tmp_path, text, monkeypatch)
    assert loaded.recorded is recorded
    assert (loaded.live_options and loaded.live_options.name) == name
    assert (loaded.callback_seconds, loaded.started_at) == (3, 1)
    assert loaded.initialize is not None
    assert loaded.initialize.__name__ == "g"
