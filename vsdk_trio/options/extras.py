"""How an extra of this package is installed here: the command that a person can copy.

A leaf. Where the package came from decides: an index that does not have it would be no help to
somebody who installed a clone. pip writes that down beside the package (PEP 610).
"""

from __future__ import annotations

import importlib.metadata
import json
import shlex
from typing import Any
from urllib.parse import unquote, urlsplit

_NAME = "vsdk-trio"


def how_to_install(extra: str) -> str:
    """The command that installs what an extra needs, beside this package as it is here."""
    try:
        text = importlib.metadata.distribution(_NAME).read_text("direct_url.json")
        came_from = json.loads(text or "{}")
    except (importlib.metadata.PackageNotFoundError, ValueError):
        came_from = {}
    return f"python -m pip install {arguments(extra, came_from)}"


def arguments(extra: str, came_from: dict[str, Any]) -> str:
    """The arguments for pip, where `came_from` describes the origin (empty: an index)."""
    url = str(came_from.get("url") or "")
    if isinstance(directory := came_from.get("dir_info"), dict):
        place = shlex.quote(f"{unquote(urlsplit(url).path)}[{extra}]")
        return f"-e {place}" if directory.get("editable") else place
    if isinstance(vcs := came_from.get("vcs_info"), dict):
        url = f"{vcs.get('vcs')}+{url}@{vcs.get('commit_id')}"
    return shlex.quote(f"{_NAME}[{extra}] @ {url}" if url else f"{_NAME}[{extra}]")
