"""A headless Chromium for tests: started, driven over the DevTools protocol, and gone at the end.

    async with open_browser() as browser, browser.open_page(url) as page:
        await page.until_text("h1", "worker")
        assert page.problems == []

`open_browser(*flags)` takes further command line flags, such as those for a microphone that is
made up. Where there is no Chromium, tests that ask for it are skipped (`needs_browser`).
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import pytest
import trio

from .cdp import Cdp, CdpError, open_cdp
from .page import Page

START_SECONDS = 30.0
CLOSE_SECONDS = 5.0
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PROGRAM = next((path for name in _NAMES if (path := shutil.which(name))), None)
_FLAGS = (
    "--headless=new",
    "--no-sandbox",  # which root cannot have
    "--remote-debugging-port=0",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--mute-audio",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
)

needs_browser = pytest.mark.skipif(
    PROGRAM is None,
    reason="no Chromium on this machine: apt-get install chromium, and the pages are tested too",
)


class Browser:
    """A running browser; made by `open_browser`."""

    def __init__(self, cdp: Cdp) -> None:
        self._cdp = cdp

    @asynccontextmanager
    async def open_page(self, url: str = "about:blank") -> AsyncGenerator[Page]:
        """A page of its own, with cookies and storage of its own, at `url`."""
        context = (await self._cdp.call("Target.createBrowserContext"))["browserContextId"]
        target = await self._cdp.call(
            "Target.createTarget", url="about:blank", browserContextId=context
        )
        attached = await self._cdp.call(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )
        page = Page(self._cdp, attached["sessionId"])
        await page.begin()
        if url != "about:blank":
            await page.goto(url)
        yield page
        with suppress(CdpError):
            await self._cdp.call("Target.disposeBrowserContext", browserContextId=context)


@asynccontextmanager
async def open_browser(*flags: str) -> AsyncGenerator[Browser]:
    """Run a headless browser around the body. Fails where there is none: see `needs_browser`."""
    assert PROGRAM is not None, "use needs_browser"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = await trio.lowlevel.open_process(
            [PROGRAM, *_FLAGS, *flags, f"--user-data-dir={profile}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert process.stderr is not None
        try:
            with trio.fail_after(START_SECONDS):
                url = await _url_from(process.stderr)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_drain, process.stderr)
                async with open_cdp(url) as cdp:
                    yield Browser(cdp)
                    with trio.move_on_after(CLOSE_SECONDS), suppress(CdpError):
                        await cdp.call("Browser.close")
                nursery.cancel_scope.cancel()
        finally:
            with trio.move_on_after(CLOSE_SECONDS, shield=True):
                await process.wait()
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            with trio.CancelScope(shield=True):
                await process.wait()
            await process.stderr.aclose()


async def _url_from(stderr: trio.abc.ReceiveStream) -> str:
    said = b""
    while (found := re.search(rb"DevTools listening on (ws://\S+)\s", said)) is None:
        chunk = await stderr.receive_some()
        assert chunk, f"the browser did not start:\n{said.decode(errors='replace')}"
        said += chunk
    return found[1].decode()


async def _drain(stderr: trio.abc.ReceiveStream) -> None:
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        while await stderr.receive_some():
            pass
