"""axe-core finds nothing on any page: in light and dark colours, on a phone and on a desk.

axe-core is a development tool and no part of this repository. The tests use it where it lies in
`node_modules`: `npm install --no-save axe-core`, which `.ci/run` does.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from vsdk_trio.registry.core import Registry
from vsdk_trio.registry.server import open_registry

from .browser import needs_browser, open_browser
from .page import Page
from .test_dashboards import JOBS, operating, url_of

AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    needs_browser,
    pytest.mark.skipif(
        not AXE.exists(),
        reason="no axe-core here: npm install --no-save axe-core, and the pages are checked too",
    ),
]

FINDINGS = """
    axe.run(document).then((found) => found.violations.flatMap((rule) =>
        rule.nodes.map((node) => `${rule.id}: ${node.target} ${node.failureSummary}`)))
"""
SHAPES = [(width, dark) for width in (360, 1280) for dark in (False, True)]


async def findings(page: Page) -> list[str]:
    """What axe-core finds, in every shape."""
    await page.evaluate(AXE.read_text(encoding="utf-8") + "; undefined")
    found: list[str] = []
    for width, dark in SHAPES:
        await page.look_like(width=width, dark=dark, phone=width < 500)
        found += [f"{width} dark={dark} {text}" for text in await page.evaluate(FINDINGS)]
    return found


async def test_it_finds_what_is_there() -> None:
    async with open_browser() as browser, browser.open_page() as page:
        await page.evaluate("document.body.innerHTML = '<input><p style=color:#eee>faint</p>'")
        found = await findings(page)
        assert any("color-contrast" in text for text in found)
        assert any("label" in text for text in found)


@pytest.mark.timeout(180)
async def test_nothing_is_found_on_any_page(tmp_path: Path) -> None:
    rules = {"max_processes": 3, "ping_interval": 1, "loop_warn_after": 1, "request_fnc": "refuse"}
    async with operating(tmp_path, **rules) as (system, worker, web):
        long = "a-room-with-a-name-that-is-much-longer-than-any-phone-is-wide-" * 3
        failed = (await system.run_job("raises", text="no\n" + "why " * 500, room_id=long)).job_id
        await system.run_job("returns")
        blocked = await system.dispatch("sleeps")
        waits = await system.dispatch("waits", room_id=long)
        await system.dispatch("waits")  # now it is full
        at_worker, at_registry = url_of(worker), system.url
        async with web.open_page() as page:
            await page.goto(at_worker)
            await page.until_text(JOBS, "blocked")
            await page.until_text("#state", "full")
            assert await findings(page) == []
            await page.click("#drain")
            await page.until("document.getElementById('drain-dialog').open")
            assert await findings(page) == []
            await page.goto(at_registry)
            await page.until_text("#notices", "full")
            assert await findings(page) == []
            await page.click(f"{JOBS} .terminate")
            await page.until("document.getElementById('terminate').open")
            assert await findings(page) == []
            for site in (at_worker, at_registry):
                for job_id in (failed, blocked, waits):
                    await page.goto(f"{site}/jobs/{job_id}")
                    await page.until_text("#job-facts", job_id)
                    assert await findings(page) == []
                await page.goto(f"{site}/jobs/nothing-like-it")
                await page.until_text("#unknown", "No job")
                assert await findings(page) == []


async def test_nothing_is_found_where_there_is_nothing_or_a_token_is_asked_for() -> None:
    async with (
        open_registry(Registry(auth_token="the-token")) as running,
        open_browser() as browser,
        browser.open_page() as page,
    ):
        for path in ("/", "/jobs/x"):
            await page.goto(running.url + path)
            await page.until_text("#token-message", "a token is needed here")
            assert await findings(page) == []
        await page.click("#token")
        await page.type("the-token")
        await page.press("Enter")
        await page.until_text("#unknown", "No job x")
        await page.goto(running.url)
        await page.until_text("#no-workers", "None has registered")
        assert await findings(page) == []
