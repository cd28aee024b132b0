"""Pages from the package: their headers, and that nothing else can be had."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Any

import pytest

from ..status.asking import app_of, ask

HTML = {"accept": "text/html,application/xhtml+xml"}


async def test_a_browser_gets_a_page_from_wherever_it_asks() -> None:
    page = await ask(app_of(), "/", headers=HTML, peer="192.0.2.1")
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert page.headers["x-frame-options"] == "DENY"
    # A program gets facts there, if it may.
    assert (await ask(app_of(), "/")).json["worker"]["worker_id"] == "worker-1"
    assert (await ask(app_of(), "/", peer="192.0.2.1")).status == 403


async def test_everything_a_page_names_is_there() -> None:
    seen, wanted = set[str](), {"/"}
    while wanted:
        path = wanted.pop()
        seen.add(path)
        answer = await ask(app_of(), path, headers=HTML, peer="192.0.2.1")
        assert answer.status == 200, path
        names = re.findall(r'(?:href|src)="(/static/[^"]+)"|from "\./([^"]+)"', answer.text)
        wanted |= {a or f"/static/{b}" for a, b in names} - seen
    assert len(seen) > 4


async def test_what_the_browser_has_is_not_sent_again() -> None:
    first = await ask(app_of(), "/static/base.css")
    again = await ask(
        app_of(), "/static/base.css", headers={"if-none-match": first.headers["etag"]}
    )
    assert (again.status, again.body) == (304, b"")


@pytest.mark.parametrize(
    "path", ["/static/", "/static/none.js", "/static/../app.py", "/static/__init__.py"]
)
async def test_nothing_else_can_be_had(path: str) -> None:
    answer: Any = await ask(app_of(), path)
    assert (answer.status, answer.json["success"]) == (404, False)


@pytest.mark.parametrize(
    "package", ["vsdk_trio.http_server", "vsdk_trio.status", "vsdk_trio.registry"]
)
def test_pages_name_nothing_outside(package: str) -> None:
    for entry in files(package).joinpath("static").iterdir():
        text = entry.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.findall(r"(?:https?:)?//[a-z][^\s]*\.[a-z]{2,}", text), entry.name
        assert " style=" not in text, entry.name  # the policy would not have it
        assert "innerHTML =" not in text, entry.name
