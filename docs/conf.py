"""The site: `tox -e docs`. The documents stay Markdown that a forge shows, too."""

from __future__ import annotations

import os
import re
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "vsdk_trio"
author = "the vsdk_trio authors"
project_copyright = f"2026 {author}"
version = release = installed_version("vsdk-trio")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinxcontrib_trio"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"vsdk_trio {version}"
# Nothing is looked up in inventories of other sites: the build needs no network.
nitpicky = False

myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
# Documents that are elsewhere, so that a forge and a newcomer find them, and their pages here.
PAGES = {
    "index": "README.md",
    "project/changelog": "CHANGELOG.md",
    "project/contributing": "CONTRIBUTING.md",
    "project/security": "SECURITY.md",
    "project/tests": "tests/README.md",
}
_NAME_OF = {path: name for name, path in PAGES.items()}
_LINK = re.compile(r"(?<!`)(!?)\[([^\]\n]*)\]\(([^)\s]+)\)")


def read_source(app: Sphinx, docname: str, content: list[str]) -> None:
    """Fill the pages that stand for a document elsewhere, and point links to where they lead."""
    here = DOCS / f"{docname}.md"
    if (elsewhere := PAGES.get(docname)) is not None:
        here = ROOT / elsewhere
        app.env.note_dependency(str(here))
        content[0] = f"{here.read_text(encoding='utf-8')}\n{content[0]}"
    if docname.startswith("api/"):
        return
    page = (DOCS / f"{docname}.md").parent

    def link(match: re.Match[str]) -> str:
        mark, text, target = match.groups()
        path, _, anchor = target.partition("#")
        if "://" in target or not path:
            return match[0]
        found = (here.parent / path).resolve()
        inside = found.is_relative_to(DOCS)
        name = str(found.relative_to(ROOT))
        if not found.exists():
            return match[0]  # Sphinx warns
        if not inside and name not in _NAME_OF:
            return text if text.startswith("`") else f"{text} (`{name}`)"
        to = found if inside else DOCS / f"{_NAME_OF[name]}.md"
        return f"{mark}[{text}]({os.path.relpath(to, page)}{'#' + anchor if anchor else ''})"

    content[0] = _LINK.sub(link, content[0])


_CODE = re.compile(r"(?<!`)`([^`]+)`(?!`)(\w)?")
_TEXT_BEFORE_LIST = re.compile(r"^((?! *[*-] )(?! {2,}\S).+)\n(?= *[*-] )", re.MULTILINE)


def write_as_rst(
    app: object, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Docstrings are written as Markdown: code in single backticks, lists without a line before."""
    text = _TEXT_BEFORE_LIST.sub(r"\1\n\n", "\n".join(lines))
    # A code that is followed by a letter, as a plural, needs an escaped space.
    text = _CODE.sub(
        lambda found: f"``{found[1].strip()}``" + (rf"\ {found[2]}" if found[2] else ""), text
    )
    # The first line of a property is text: napoleon would take what is before a colon for its type.
    lines[:] = ([""] if what == "property" else []) + text.split("\n")


def setup(app: Sphinx) -> None:
    app.connect("source-read", read_source)
    app.connect("autodoc-process-docstring", write_as_rst, priority=400)  # before napoleon
