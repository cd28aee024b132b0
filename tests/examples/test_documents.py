"""Code in documents: Python compiles or runs, shell parses, and what it names is there."""

from __future__ import annotations

import ast
import builtins
import configparser
import importlib
import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import vsdk_trio.backend
import vsdk_trio.testing
from vsdk_trio.cli.app import PANELS

from ..test_test_runs import environments

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "tests/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
PUBLIC = {
    f"{module.__name__}.{name}": getattr(module, name)
    for module in (vsdk_trio, vsdk_trio.backend, vsdk_trio.testing)
    for name in module.__all__
}
COMMANDS = {name for commands in PANELS.values() for name in commands}
HELP = {
    name: (ROOT / "tests" / "cli" / "golden" / f"help-{name}.txt").read_text(encoding="utf-8")
    for name in COMMANDS
}


def blocks(*languages: str) -> list[Any]:
    return list(_blocks(languages))


def _blocks(languages: tuple[str, ...]) -> Iterator[Any]:
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        for found in re.finditer(r"^```(\S*).*\n((?:.*\n)*?)```$", text, re.MULTILINE):
            if found[1] in languages:
                line = text[: found.start()].count("\n") + 1
                yield pytest.param(found[2], id=f"{path.relative_to(ROOT)}:{line}")


def test_every_language_is_one_that_is_looked_at() -> None:
    looked_at = {"", "python", "sh", "json", "ini", "yaml", "dockerfile", "{toctree}", "{eval-rst}"}
    for path in DOCUMENTS:
        opened = re.findall(r"^```(\S+)", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert set(opened) <= looked_at, path


# -- Python --------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", blocks("python"))
def test_python_compiles_and_names_what_is_there(code: str) -> None:
    compile(code, "<document>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    tree = ast.parse(code)
    known = {name.rpartition(".")[2] for name in PUBLIC} | set(dir(builtins))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("vsdk_trio"):
            module = importlib.import_module(str(node.module))
            assert all(hasattr(module, alias.name) for alias in node.names), ast.unparse(node)
    # Classes are ours; a document gives a name in lower case a meaning of its own.
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert {name for name in used if name[0].isupper()} <= known


def is_complete(code: str) -> bool:
    """No waiting, and no worker that runs until it is stopped."""
    return not re.search(r"\b(await|async with|start\(\)|with trio)", code)


RUNNABLE = [block for block in blocks("python") if is_complete(block.values[0])]


@pytest.mark.parametrize("code", RUNNABLE)
def test_python_that_waits_for_nothing_runs(code: str) -> None:
    names = {name.rpartition(".")[2]: value for name, value in PUBLIC.items()}
    exec(compile(code, "<document>", "exec"), names)


def test_some_of_it_runs() -> None:
    assert len(RUNNABLE) >= 3


# -- shell ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", blocks("sh"))
def test_shell_parses_and_names_what_is_there(code: str) -> None:
    parsed = subprocess.run(["bash", "-n"], input=code, text=True, capture_output=True, check=False)
    assert parsed.stderr == ""
    for line in code.replace("\\\n", " ").splitlines():
        for words in commands(line):
            check_command(words)


def commands(line: str) -> Iterator[list[str]]:
    """The simple commands of a line, without assignments before them."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if set(word) <= set(";&|"):
            while words and re.match(r"\w+=", words[0]):
                del words[0]
            if words:
                yield words
            words = []
        else:
            words.append(word)


def check_command(words: list[str]) -> None:
    match words:
        case ["vsdk-trio", command, *rest]:
            assert command in COMMANDS
            flags = {word.partition("=")[0] for word in rest if word.startswith("--")}
            assert all(flag in HELP[command] for flag in flags), words
            assert all((ROOT / word).exists() for word in rest if word.endswith(".py"))
        case ["python", "-m", "pytest", *rest] | ["pytest", *rest]:
            paths = [word.partition("::") for word in rest if word.startswith("tests/")]
            for path, _, name in paths:
                assert (ROOT / path).exists(), path
                assert f"def {name}" in ((ROOT / path).read_text() if name else "def "), name
        case ["python", path, *_] if path.endswith(".py"):
            assert (ROOT / path).exists()
        case ["tox", "-e", name, *_]:
            assert name in {*environments(), "py311", "py313"}


# -- the rest ------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", blocks("json"))
def test_json_parses(text: str) -> None:
    json.loads(text)


@pytest.mark.parametrize("text", blocks("ini"))
def test_units_parse(text: str) -> None:
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.read_string(text)
    assert "Service" in unit


@pytest.mark.parametrize("text", blocks("yaml"))
def test_yaml_parses(text: str) -> None:
    assert list(yaml.safe_load_all(text))


FORGE = [*(ROOT / ".github").rglob("*.yml"), ROOT / ".pre-commit-config.yaml"]


@pytest.mark.parametrize("path", FORGE)
def test_files_of_the_forge_parse(path: Path) -> None:
    assert yaml.safe_load(path.read_text(encoding="utf-8"))


def test_the_forge_runs_what_ci_runs() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    [job] = workflow["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == ["bash .ci/run"]


@pytest.mark.parametrize("text", blocks("dockerfile"))
def test_dockerfiles_have_known_instructions(text: str) -> None:
    lines = re.sub(r"\\\n", " ", text).splitlines()
    instructions = {line.split()[0] for line in lines if line and not line.startswith("#")}
    known = "ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM RUN STOPSIGNAL USER WORKDIR HEALTHCHECK"
    assert instructions <= set(known.split())


# -- the reference -------------------------------------------------------------------------------


def test_the_reference_has_every_public_name() -> None:
    pages = [path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "api").glob("*.md")]
    names = re.findall(r"^\.\. auto\w+:: (\S+)", "\n".join(pages), re.MULTILINE)
    described = [value for name in names for value in described_by(name)]
    missing = {name for name, value in PUBLIC.items() if not any(value is d for d in described)}
    assert missing == {"vsdk_trio.__version__"}
    assert vsdk_trio.aio.entrypoint in described


def described_by(name: str) -> list[object]:
    try:
        return list(vars(importlib.import_module(name)).values())
    except ModuleNotFoundError:
        module, _, attribute = name.rpartition(".")
        return [getattr(importlib.import_module(module), attribute)]


# -- paths and fragments -------------------------------------------------------------------------


def test_each_file_that_a_document_names_is_there() -> None:
    """As `tests/jobs/test_admission.py`, `jobs/admission.py` of the package, or `test_edge.py`."""
    names = {path.name for path in ROOT.glob("tests/**/*.py")}
    missing = {
        f"{path.relative_to(ROOT)}: {file}"
        for path in DOCUMENTS
        if path.parent.name != "ways"  # what was there once is named there
        for file in re.findall(r"`([\w./-]+\.py)(?:::\w+)?`", path.read_text(encoding="utf-8"))
        if not file.startswith("path/")  # a user's own
        and ("/" in file or file.startswith("test_"))
        and not (ROOT / file).exists()
        and not (ROOT / "vsdk_trio" / file).exists()
        and not (ROOT / "tests" / file).exists()
        and file not in names
    }
    assert not missing


def test_each_package_and_directory_that_a_document_names_is_there() -> None:
    missing = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in DOCUMENTS
        for name in re.findall(r"`((?:vsdk_trio|tests)/[\w/]+)`", path.read_text(encoding="utf-8"))
        if not (ROOT / name).exists()
    }
    assert not missing


def test_fragments_of_the_changelog_have_a_type() -> None:
    known = {"added", "changed", "fixed", "removed", "security"}
    for path in (ROOT / "changelog.d").glob("[!.]*"):
        assert re.fullmatch(r"(\d+|\+[\w-]+)\.(\w+)\.md", path.name), path.name
        assert path.name.split(".")[-2] in known, path.name
        assert path.read_text(encoding="utf-8").strip(), path.name


def test_the_changelog_has_the_place_for_the_next_release() -> None:
    assert (ROOT / "CHANGELOG.md").read_text().count("<!-- towncrier: the next release") == 1
