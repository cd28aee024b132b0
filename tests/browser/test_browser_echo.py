"""The browser example as its user has it: a microphone (that beeps), a page, and the agent.

With `ECHO_PICTURES=docs/images` it also takes the pictures of the documentation.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio

from .browser import Browser, needs_browser, open_browser

pytestmark = [pytest.mark.real, pytest.mark.slow, needs_browser]

AGENT = Path(__file__).parents[2] / "examples" / "browser_echo" / "agent.py"
MICROPHONE = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
LEVEL = "Number(document.querySelector('#{}').getAttribute('aria-valuenow'))"


@attrs.define
class RunningAgent:
    process: trio.Process
    page_url: str
    said: list[str] = attrs.field(factory=list)


@asynccontextmanager
async def running_agent(*arguments: str) -> AsyncGenerator[RunningAgent]:
    process = await trio.lowlevel.open_process(
        [sys.executable, str(AGENT), "--port", "0", "--page-port", "0", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        with trio.fail_after(30):
            first = b""
            while not first.endswith(b"\n"):
                first += await process.stdout.receive_some()
        yield RunningAgent(process, first.decode().removeprefix("Open ").strip())
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            await process.stdout.aclose()


async def picture(browser_page: object, name: str) -> None:
    folder = os.environ.get("ECHO_PICTURES")
    if folder:
        data = await browser_page.screenshot()  # type: ignore[attr-defined]
        await trio.Path(folder, name).write_bytes(data)


async def test_one_speaks_and_hears_oneself_come_back() -> None:
    async with (
        running_agent() as agent,
        open_browser(*MICROPHONE) as browser,
        browser.open_page(agent.page_url) as page,
    ):
        await page.look_like(width=1000, height=860, dark=True)
        assert await page.text("#talk") == "Start talking"
        await page.click("#talk")
        await page.until_text("#status", "You talk to Echo.")
        await page.until(f"{LEVEL.format('you')} > 30")
        await page.until(f"{LEVEL.format('back')} > 30")  # and this went through the agent
        await trio.sleep(4)  # for the picture: a few beeps
        await page.until(f"{LEVEL.format('back')} > 40")
        await picture(page, "browser-echo.png")

        await page.click("#mute")
        await page.until(f"{LEVEL.format('you')} < 3 && {LEVEL.format('back')} < 3")
        await page.click("#mute")
        await page.until(f"{LEVEL.format('back')} > 30")

        await page.look_like(width=390, height=844, phone=True)
        fits = "document.documentElement.scrollWidth <= innerWidth"
        assert await page.evaluate(fits), "the page is wider than a phone"
        assert await page.evaluate("document.querySelector('#talk').offsetWidth >= 100")
        await page.until(f"{LEVEL.format('back')} > 40")
        await picture(page, "browser-echo-phone.png")
        await second_caller_is_told(browser, agent)

        await page.click("#talk")
        await page.until_text("#talk", "Start talking")
        await page.until(f"{LEVEL.format('back')} < 3")
        await page.click("#talk")  # and once more
        await page.until(f"{LEVEL.format('back')} > 30")

        agent.process.send_signal(signal.SIGINT)
        await page.until_text("#status", "The agent is gone: the agent has left.")
        with trio.fail_after(15):
            assert await agent.process.wait() == 0
        await page.click("#talk")
        await page.until_text("#status", "No agent answers at ws://127.0.0.1")
        assert page.problems == [p for p in page.problems if "ERR_CONNECTION_REFUSED" in p]
        host = agent.page_url.partition("/?")[0]
        assert all(url.startswith((host, "data:", "ws://127.0.0.1")) for url in page.requests), (
            "something was loaded from elsewhere"
        )


async def second_caller_is_told(browser: Browser, agent: RunningAgent) -> None:
    async with browser.open_page(agent.page_url) as other:
        await other.click("#talk")
        await other.until_text("#status", "another client is connected to this agent")


async def test_a_page_without_a_microphone_says_so() -> None:
    async with (
        running_agent() as agent,
        open_browser() as browser,
        browser.open_page(agent.page_url) as page,
    ):
        await page.click("#talk")
        await page.until(
            "/(not allowed to use the microphone|no microphone)/.test("
            "document.querySelector('#status').innerText)"
        )
        assert await page.text("#talk") == "Start talking"
