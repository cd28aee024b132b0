"""One page of a headless browser, as a user has it: look, click, type; and what went wrong in it.

Waits are for what a user would see, by a JavaScript expression that becomes true.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import trio

from .cdp import Cdp

PATIENCE_SECONDS = 20.0
_KEYS = {"Enter": ("Enter", 13, "\r"), "Tab": ("Tab", 9, ""), " ": ("Space", 32, " ")}


class Page:
    """A page; made by `Browser.open_page`."""

    def __init__(self, cdp: Cdp, session: str) -> None:
        self._cdp = cdp
        self._session = session
        self._loaded = trio.Event()
        self.problems: list[str] = []
        """Errors on the console, uncaught exceptions, violated policies, failed requests."""
        self.requests: list[str] = []
        """Every URL that was requested."""
        cdp.listen(session, self._note)

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A call of the DevTools protocol, for what has no method here."""
        return await self._cdp.call(method, self._session, **parameters)

    async def goto(self, url: str) -> None:
        """Go there, and wait until it is loaded."""
        self._loaded = trio.Event()
        answer = await self.call("Page.navigate", url=url)
        assert not answer.get("errorText"), f"{url}: {answer['errorText']}"
        with trio.fail_after(PATIENCE_SECONDS):
            await self._loaded.wait()

    async def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; a promise is awaited. Raises for an exception."""
        answer = await self.call(
            "Runtime.evaluate",
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        if (details := answer.get("exceptionDetails")) is not None:
            raise AssertionError(f"{expression}: {_exception(details)}")
        return answer["result"].get("value")

    async def until(self, expression: str, *, seconds: float = PATIENCE_SECONDS) -> Any:
        """Wait until the expression is true, and return its value."""
        with trio.move_on_after(seconds):
            while not (value := await self.evaluate(expression)):  # noqa: ASYNC110  # CDP has no event
                await trio.sleep(0.05)
            return value
        text = await self.text("body")
        raise AssertionError(f"not within {seconds:g} s: {expression}\n{self.problems}\n{text}")

    async def until_text(self, selector: str, text: str) -> None:
        """Wait until an element that fits the selector has this in its text."""
        await self.until(
            f"[...document.querySelectorAll({json.dumps(selector)})]"
            f".some(e => e.innerText.includes({json.dumps(text)}))"
        )

    async def text(self, selector: str) -> str:
        """The text of the first element that fits, as a user sees it; "" where none does."""
        found = await self.evaluate(
            f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"
        )
        return str(found)

    async def click(self, selector: str) -> None:
        """Wait for an element, bring it into view and click in its middle, as a mouse does."""
        quoted = json.dumps(selector)
        await self.until(f"document.querySelector({quoted}) !== null")
        box = await self.evaluate(
            f"(() => {{ const e = document.querySelector({quoted});"
            "e.scrollIntoView({block: 'center', behavior: 'instant'});"
            "const r = e.getBoundingClientRect(); return [r.x + r.width/2, r.y + r.height/2] })()"
        )
        where = {"x": box[0], "y": box[1], "button": "left", "clickCount": 1}
        for kind in ("mousePressed", "mouseReleased"):
            await self.call("Input.dispatchMouseEvent", type=kind, **where)

    async def type(self, text: str) -> None:
        """Type into what has the focus."""
        await self.call("Input.insertText", text=text)

    async def press(self, key: str) -> None:
        """Press and release a key: Enter, Tab or the space bar."""
        code, number, text = _KEYS[key]
        fields = {"key": key, "code": code, "windowsVirtualKeyCode": number}
        await self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **fields)
        await self.call("Input.dispatchKeyEvent", type="keyUp", **fields)

    async def look_like(
        self, *, width: int = 1280, height: int = 800, dark: bool = False, phone: bool = False
    ) -> None:
        """Size of the window in CSS pixels, the user's colour scheme, and whether it is a phone."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])

    async def screenshot(self, *, whole: bool = False) -> bytes:
        """What is to be seen, as PNG; `whole`: the parts out of sight as well."""
        answer = await self.call(
            "Page.captureScreenshot", format="png", captureBeyondViewport=whole
        )
        return base64.b64decode(answer["data"])

    async def begin(self) -> None:
        """Have the browser tell what happens in the page."""
        for domain in ("Page", "Runtime", "Network", "Log"):
            await self.call(f"{domain}.enable")

    def _note(self, method: str, event: dict[str, Any]) -> None:
        match method:
            case "Page.loadEventFired":
                self._loaded.set()
            case "Network.requestWillBeSent":
                self.requests.append(event["request"]["url"])
            case "Runtime.exceptionThrown":
                self.problems.append(_exception(event["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if event["type"] in ("error", "assert"):
                said = [str(a.get("value", a.get("description"))) for a in event["args"]]
                self.problems.append(" ".join(said))
            case "Log.entryAdded" if event["entry"]["level"] == "error":
                entry = event["entry"]
                self.problems.append(f"{entry['text']} {entry.get('url', '')}".strip())


def _exception(details: dict[str, Any]) -> str:
    thrown = details.get("exception", {})
    return str(thrown.get("description") or thrown.get("value") or details["text"])
