"""Pages and what belongs to them, from files of the package: no build step, nothing from outside.

Knows files and headers; not what the pages show. The files are read once, when an application
is made. A page holds no data: it asks for them, so anybody may have it.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

import attrs
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from .answers import failure

_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    # Asked about each time, and sent again only when it has changed.
    "cache-control": "no-cache",
}


@attrs.frozen
class _File:
    body: bytes
    media_type: str
    etag: str


class Pages:
    """The files below `static` in these packages, by name; a later package's file wins."""

    def __init__(self, *packages: str) -> None:
        self._files: dict[str, _File] = {}
        for package in packages:
            for entry in files(package).joinpath("static").iterdir():
                self._add(entry)

    def _add(self, entry: Traversable) -> None:
        media_type = _TYPES.get(entry.name.rpartition(".")[2])
        if media_type is not None:
            body = entry.read_bytes()
            etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
            self._files[entry.name] = _File(body, media_type, etag)

    def answer(self, name: str, request: Request) -> ASGIApp:
        """The file of this name; 304 where the client has it already."""
        if (file := self._files.get(name)) is None:
            return failure(404, f"there is no {name[:50]!r}")
        headers = {**_HEADERS, "etag": file.etag, "vary": "accept"}
        if request.headers.get("if-none-match") == file.etag:
            return Response(status_code=304, headers=headers)
        return Response(file.body, headers=headers, media_type=file.media_type)


@cache
def load_pages(*packages: str) -> Pages:
    """The pages of these packages, read once."""
    return Pages(*packages)


def wants_page(request: Request) -> bool:
    """Is it a browser that asks, and not a program?"""
    return "text/html" in request.headers.get("accept", "")
