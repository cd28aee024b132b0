"""The browser driver itself, on a page of its own."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from .browser import needs_browser, open_browser

pytestmark = [pytest.mark.real, needs_browser]

PAGE = "data:text/html," + quote("""
<meta name=viewport content="width=device-width">
<h1>Title</h1><input id=name><button onclick="document.querySelector('h1').innerText =
    document.querySelector('input').value">set</button>
<script>const dark = () => matchMedia('(prefers-color-scheme: dark)').matches</script>
""")


async def test_a_page_is_seen_and_used() -> None:
    async with open_browser() as browser:
        async with browser.open_page(PAGE) as page:
            assert await page.text("h1") == "Title"
            await page.click("#name")
            await page.type("typed")
            await page.press("Tab")
            await page.press("Enter")
            await page.until_text("h1", "typed")
            await page.look_like(width=400, height=700, dark=True, phone=True)
            assert await page.evaluate("[innerWidth, dark()]") == [400, True]
            assert (await page.screenshot()).startswith(b"\x89PNG")
            assert await page.evaluate("Promise.resolve(7)") == 7
            assert page.problems == []
            assert page.requests == [PAGE]
            with pytest.raises(AssertionError, match="nothing is not defined"):
                await page.evaluate("nothing")
            with pytest.raises(AssertionError, match="not within"):
                await page.until("false", seconds=0.1)
        async with browser.open_page() as page:
            await page.goto("data:text/html,<script>console.error('bad'); throw 'worse'</script>")
            assert sorted(page.problems) == ["bad", "worse"]
