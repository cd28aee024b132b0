"""Which functions can be named, which cannot and why, and that references travel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsdk_trio.errors import EntrypointError
from vsdk_trio.jobs.entrypoint import EntrypointRef, describe, parse

MODULE = "entrypoints_under_test"
SOURCE = """
import functools

async def plain(ctx): ...

def sync(proc): ...

def wrapped_well(fn):
    @functools.wraps(fn)
    async def wrapper(ctx):
        return await fn(ctx)
    return wrapper

def wrapped_badly(fn):
    async def wrapper(ctx):
        return await fn(ctx)
    wrapper.__qualname__ = "nowhere"
    return wrapper

@wrapped_well
async def decorated(ctx): ...

@wrapped_badly
async def lost(ctx): ...

async def again(ctx): ...
first_again = again
async def again(ctx): ...

def make():
    async def closure(ctx): ...
    return closure

class Agent:
    @staticmethod
    async def static(ctx): ...
    @classmethod
    async def cls_method(cls, ctx): ...
    async def method(self, ctx): ...
    async def __call__(self, ctx): ...

anonymous = lambda ctx: None
instance = Agent()
partial = functools.partial(plain)
"""


def execute(module: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    exec(compile(SOURCE, MODULE, "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    return execute(types.ModuleType(MODULE), monkeypatch)


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    return execute(types.ModuleType("__main__"), monkeypatch)


@pytest.mark.parametrize("name", ["plain", "decorated", "Agent.static", "Agent.cls_method"])
def test_what_a_module_holds_is_named_by_it(module: types.ModuleType, name: str) -> None:
    function: Any = module
    for part in name.split("."):
        function = getattr(function, part)
    reference = describe(function)
    assert (reference.module, reference.qualname) == (MODULE, name)
    assert str(reference) == f"{MODULE}:{name}"
    assert reference.argv == tuple(sys.argv)
    assert reference.cwd == os.getcwd()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("sync", "it is not an `async def` function"),
        ("partial", "functools.partial"),
        ("anonymous", "not an `async def`"),
        ("instance", "not an `async def`"),
        ("make()", "it is defined inside a function (make.<locals>.closure)"),
        ("instance.method", "it is a method of one object"),
        ("lost", f"{MODULE} has no 'nowhere' (a decorator without functools.wraps?)"),
        ("first_again", f"{MODULE}:again is another object by now"),
        ("'plain'", "it is a str, not a function"),
    ],
)
def test_what_cannot_be_named_is_refused(module: types.ModuleType, name: str, why: str) -> None:
    function = eval(name, module.__dict__)
    with pytest.raises(EntrypointError) as caught:
        describe(function)
    assert str(caught.value).startswith("the entrypoint ")
    assert why in str(caught.value)


def test_a_function_that_need_not_be_asynchronous(module: types.ModuleType) -> None:
    what = "initialize_process_fnc"
    assert describe(module.sync, what=what, asynchronous=False).qualname == "sync"
    with pytest.raises(EntrypointError, match=r"the initialize_process_fnc .* it is a lambda"):
        describe(module.anonymous, what=what, asynchronous=False)
    with pytest.raises(EntrypointError, match="it is a Agent without a name"):
        describe(module.instance, what=what, asynchronous=False)


def test_a_module_that_is_not_imported(
    module: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, MODULE)
    with pytest.raises(EntrypointError, match="is not imported"):
        describe(module.plain)


def test_a_script_is_named_by_its_path(main: types.ModuleType, tmp_path: Path) -> None:
    script = tmp_path / "app.py"
    script.touch()
    main.__file__ = str(script)
    assert describe(main.plain).main_path == str(script)


def test_a_module_run_with_dash_m_is_named_by_its_real_name(main: types.ModuleType) -> None:
    main.__spec__ = types.SimpleNamespace(name="pkg.__main__")  # type: ignore[assignment]
    main.__file__ = "/pkg/__main__.py"
    reference = describe(main.plain)
    assert (reference.main_module, reference.main_path) == ("pkg.__main__", None)
    assert reference.target == "pkg.__main__"


@pytest.mark.parametrize("file", [None, "<stdin>"])
def test_an_interactive_function_is_refused(main: types.ModuleType, file: str | None) -> None:
    main.__spec__ = types.SimpleNamespace(name="__main__")  # type: ignore[assignment]
    if file is not None:
        main.__file__ = file
    with pytest.raises(EntrypointError, match="put it into a file"):
        describe(main.plain)


def test_a_script_that_is_no_file_is_refused(main: types.ModuleType, tmp_path: Path) -> None:
    main.__file__ = str(tmp_path / "app.pyz" / "__main__.py")
    with pytest.raises(EntrypointError, match=r"is not a file \(deleted, or inside an archive\)"):
        describe(main.plain)


def test_a_script_under_a_profiler_is_refused(
    main: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    profiler = types.ModuleType("__main__")
    profiler.__file__ = "/lib/cProfile.py"
    monkeypatch.setitem(sys.modules, "__main__", profiler)
    with pytest.raises(EntrypointError, match=r"main program is /lib/cProfile.py, which has no"):
        describe(main.plain)


def test_relative_entries_of_the_search_path_become_absolute(
    module: types.ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lib").mkdir()
    monkeypatch.setattr(sys, "path", ["", "lib", "__hook__", "/usr"])
    here = os.getcwd()
    assert describe(module.plain).sys_path == (here, f"{here}/lib", "__hook__", "/usr")


@pytest.mark.parametrize(
    ("text", "target"),
    [("pkg.mod:fn", {"module": "pkg.mod"}), ("mod:Agent.entry", {"module": "mod"})],
)
def test_parse_a_module(text: str, target: dict[str, str]) -> None:
    reference = parse(text)
    assert reference.module == target["module"]
    assert str(reference) == text
    assert reference.sys_path[0] == os.getcwd()


def test_parse_a_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    reference = parse("dir/app.py:main")
    assert reference.main_path == os.path.join(os.getcwd(), "dir", "app.py")
    assert reference.sys_path[0] == os.path.join(os.getcwd(), "dir")
    assert reference.argv == ("dir/app.py",)


@pytest.mark.parametrize("text", ["", "mod", "mod:", ":fn", "a b:fn", "app.py", "mod:f n", "./a:f"])
def test_parse_refuses_what_it_cannot_read(text: str) -> None:
    with pytest.raises(EntrypointError, match="expected MODULE:FUNCTION or FILE"):
        parse(text)


texts = st.text(max_size=20)


@given(
    target=st.sampled_from(["module", "main_module", "main_path"]),
    name=texts,
    qualname=texts,
    sys_path=st.lists(texts),
    argv=st.lists(texts),
    cwd=texts,
)
def test_round_trip(
    target: str, name: str, qualname: str, sys_path: list[str], argv: list[str], cwd: str
) -> None:
    reference = EntrypointRef(
        qualname=qualname, sys_path=tuple(sys_path), argv=tuple(argv), cwd=cwd, **{target: name}
    )
    assert EntrypointRef.from_dict(json.loads(json.dumps(reference.to_dict()))) == reference


@pytest.mark.parametrize(
    "wire",
    [
        {},
        {"qualname": "f"},
        {"module": "m"},
        {"qualname": "f", "module": "m", "main_path": "p"},
        {"qualname": "f", "module": 1},
        {"qualname": "f", "module": "m", "sys_path": "x"},
        {"qualname": "f", "module": "m", "argv": [1]},
        {"qualname": "f", "module": "m", "cwd": None},
    ],
)
def test_junk_is_refused(wire: dict[str, Any]) -> None:
    with pytest.raises(EntrypointError, match="malformed"):
        EntrypointRef.from_dict(wire)


PROGRAM = textwrap.dedent(
    """
    from vsdk_trio.errors import EntrypointError
    from vsdk_trio.jobs.entrypoint import describe
    async def entry(ctx): ...
    try:
        print("named", describe(entry))
    except EntrypointError as error:
        print("refused", error)
    """
)


def script(tmp_path: Path) -> list[str]:
    (tmp_path / "app.py").write_text(PROGRAM)
    return ["app.py"]


def package(tmp_path: Path) -> list[str]:
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "__init__.py").touch()
    (tmp_path / "pkg" / "__main__.py").write_text(PROGRAM)
    return ["-m", "pkg"]


def profiled(tmp_path: Path) -> list[str]:
    return ["-m", "cProfile", *script(tmp_path)]


def command(tmp_path: Path) -> list[str]:
    return ["-c", PROGRAM]


def stdin(tmp_path: Path) -> list[str]:
    return ["-"]


@pytest.mark.real
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (script, "named {tmp_path}/app.py:entry"),
        (package, "named pkg.__main__:entry"),
        (profiled, "refused the entrypoint "),
        (command, "refused the entrypoint "),
        (stdin, "refused the entrypoint "),
    ],
)
def test_however_the_program_was_started(
    arguments: Callable[[Path], list[str]], expected: str, tmp_path: Path
) -> None:
    ran = subprocess.run(
        [sys.executable, *arguments(tmp_path)],
        cwd=tmp_path,
        input=PROGRAM,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stdout.startswith(expected.format(tmp_path=tmp_path)), ran.stderr
