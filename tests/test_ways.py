"""docs/ways: each function that a page names exists, and the figures are those of the pages."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from .ways import WAYS as WALKS

ROOT = Path(__file__).parent.parent
WAYS = ROOT / "docs" / "ways"
PAGES = [path for path in sorted(WAYS.glob("*.md")) if path.name != "index.md"]
BEFORE = "## The same way at 4252667"


@cache
def names_in(file: Path) -> frozenset[str]:
    """Every function, class and method of a module, as `Class.method`."""
    found: list[str] = []

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.append(prefix + child.name)
                visit(child, f"{prefix}{child.name}.")

    visit(ast.parse(file.read_text(encoding="utf-8")), "")
    return frozenset(found)


def file_of(dotted: str) -> tuple[Path, str] | None:
    """The module that a name begins with, and the rest of the name."""
    parts = dotted.split(".")
    for count in range(len(parts) - 1, 0, -1):
        file = (ROOT / "vsdk_trio").joinpath(*parts[:count]).with_suffix(".py")
        if file.is_file():
            return file, ".".join(parts[count:])
    return None


def functions(text: str) -> list[str]:
    return re.findall(r"`([a-z_]+(?:\.\w+)+)`", text)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_each_function_exists(page: Path) -> None:
    now = page.read_text(encoding="utf-8").split(BEFORE)[0]
    named = functions(now)
    assert len(named) >= 10
    for dotted in named:
        found = file_of(dotted)
        assert found is not None, dotted
        file, name = found
        assert name in names_in(file), dotted


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_the_figures_are_those_of_the_page(page: Path) -> None:
    now, before = page.read_text(encoding="utf-8").split(BEFORE)
    table = now.split("\n\n| | function")[1].split("\n\n")[0]
    files = {found[0] for dotted in functions(table) if (found := file_of(dotted))}
    index = (WAYS / "index.md").read_text(encoding="utf-8")
    row = re.search(rf"\({page.name}\) \| (\d+) \| (\d+) \|", index)
    assert row is not None
    assert int(row[1]) == len(files)
    # A module then is all that comes before a class, or the last part.
    modules = {re.split(r"\.(?=_?[A-Z])|\.(?=\w+$)", dotted)[0] for dotted in functions(before)}
    assert int(row[2]) == len(modules)


@pytest.mark.parametrize("way", ["offer", "assignment", "end"])
def test_fewer_files_take_part_than_before(way: str) -> None:
    index = (WAYS / "index.md").read_text(encoding="utf-8")
    row = re.search(rf"\({way}.md\) \|(?: \d+ \|){{3}} (\d+) \|", index)
    assert row is not None
    files = {file for file, _ in WALKS[way]().steps}
    assert len(files) < int(row[1]), sorted(files)
