"""docs/architecture.md stays short, and names what is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
DECISIONS = ROOT / "docs" / "decisions"


def rows(heading: str) -> list[str]:
    """The first cells of the table below a heading, without its head."""
    section = PAGE.split(f"## {heading}")[1].split("\n## ")[0]
    return re.findall(r"^\| (.+?) \|", section, re.MULTILINE)[1:]


def test_it_has_at_most_2000_words() -> None:
    assert len(PAGE.split()) <= 2000


def test_the_glossary_has_at_most_20_entries() -> None:
    assert 0 < len(rows("Glossary")) <= 20


def test_it_names_each_package() -> None:
    packages = {path.parent.name for path in (ROOT / "vsdk_trio").glob("*/__init__.py")}
    assert {row.strip("`") for row in rows("Layers")} == packages


def test_it_names_each_module_at_the_root() -> None:
    modules = {path.stem for path in (ROOT / "vsdk_trio").glob("*.py")}
    sentence = PAGE.split("At the root are ")[1].split("\n")[0]
    assert set(re.findall(r"`(\w+)`", sentence)) == modules


def test_the_index_of_decisions_has_each_page() -> None:
    index = (DECISIONS / "index.md").read_text(encoding="utf-8")
    pages = {path.name for path in DECISIONS.glob("*.md")} - {"index.md"}
    assert set(re.findall(r"\]\((\S+\.md)\)", index)) == pages


def test_each_decision_has_its_three_parts() -> None:
    for path in DECISIONS.glob("*.md"):
        if path.name != "index.md":
            headings = re.findall(r"^## (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert headings == ["Context", "Decision", "Consequences"], path.name
