"""Writes what was found into docs/performance.md, between two marks, and the plots beside it."""

from __future__ import annotations

from pathlib import Path

from .figures import Book
from .output import curves_markdown, markdown
from .plots import draw

DOCS = Path(__file__).parent.parent / "docs"
BEGIN = "<!-- what `python -m benchmarks --write` has found; do not edit -->"
END = "<!-- end of what was found -->"


def section(book: Book, contenders: list[str], plots: list[Path], machine: str) -> str:
    """The text between the marks."""
    images = "\n".join(f"![{plot.stem}](plots/{plot.name})" for plot in plots)
    notes = "\n".join(f"* {note}" for note in book.notes)
    parts = [
        BEGIN,
        f"{machine}.",
        markdown(book, contenders),
        notes,
        curves_markdown(book),
        images,
        END,
    ]
    return "\n\n".join(part for part in parts if part)


def write(book: Book, contenders: list[str], docs: Path, machine: str) -> None:
    """Replace the section in the document. Raises `ValueError` where it has no place for it."""
    document = docs / "performance.md"
    before, begin, rest = document.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{document} has no line {BEGIN!r} followed by {END!r}")
    text = section(book, contenders, draw(book, docs / "plots"), machine)
    document.write_text(before + text + after, encoding="utf-8")
