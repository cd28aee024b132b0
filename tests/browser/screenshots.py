"""Takes the pictures of the docs anew: `python -m tests.browser.screenshots docs/images`.

A registry, a worker with some jobs, and both dashboards in a browser; nothing is made up in them.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import trio

from vsdk_trio.registry.actions import DispatchError
from vsdk_trio.registry.ledger import DispatchRequest

from ..system.conftest import System, open_system
from .browser import open_browser
from .page import Page

AGENT = "support-line"
SHAPES = {
    "light": {"width": 1200, "height": 960},
    "dark": {"width": 1200, "height": 960, "dark": True},
    "phone": {"width": 390, "height": 844, "phone": True},
}


async def dispatch(system: System, kind: str, room_id: str, **metadata: object) -> None:
    """Dispatch a job; that nobody takes one is part of the picture."""
    request = DispatchRequest(agent_id=AGENT, room_id=room_id, metadata={"kind": kind, **metadata})
    try:
        job = await system.registry.dispatch(request)
    except DispatchError:
        return
    with trio.move_on_after(1):
        await system.registry.wait_ended(job.job_id)


async def fill(system: System, nursery: trio.Nursery) -> None:
    """Some jobs that end in every way, some that go on, and one that nobody takes."""
    await dispatch(system, "returns", "call-4711", seconds=0.8)
    await dispatch(system, "raises", "call-4712")
    await dispatch(system, "waits", "call-4713")
    await dispatch(system, "returns", "call-4714", seconds=0.4)
    await dispatch(system, "eats", "call-4715", megabytes=40)
    [*_, waiting] = [job for job in system.registry.jobs() if job.room_id == "call-4713"]
    system.registry.terminate(waiting.job_id, "the caller hung up")
    await dispatch(system, "waits", "call-4716")
    with trio.move_on_after(0.2):  # refused, and given up
        await dispatch(system, "waits", "sunday")
    await dispatch(system, "waits", "call-4717")
    nursery.start_soon(dispatch, system, "waits", "call-4718")  # there is no room for it
    await trio.sleep(6)  # until the jobs have answered a ping


async def take(
    page: Page, url: str, name: str, directory: Path, *, shapes: Iterable[str] = SHAPES
) -> None:
    """The page in these shapes."""
    await page.goto(url)
    await page.until_text("#connection", "live")
    for shape in shapes:
        await page.look_like(**SHAPES[shape])
        await trio.sleep(2.2)
        path = trio.Path(directory / f"{name}-{shape}.png")
        await path.write_bytes(await page.screenshot())


async def main(directory: Path) -> None:
    async with (
        open_system(Path(tempfile.mkdtemp())) as system,
        open_browser() as browser,
        browser.open_page() as page,
    ):
        worker = await system.open_agent(
            agent_id=AGENT, max_processes=3, num_idle_processes=1, request_fnc="refuse"
        )
        async with trio.open_nursery() as nursery:
            await fill(system, nursery)
            url = re.findall(r"dashboard at (\S+?),", worker.output)[-1]
            await take(page, url, "worker", directory)
            await take(page, system.url, "registry", directory)
            [ended] = [job for job in system.registry.jobs() if job.room_id == "call-4713"]
            await take(page, f"{url}/jobs/{ended.job_id}", "job", directory, shapes=("light",))
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]))
