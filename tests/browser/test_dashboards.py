"""The dashboards in a browser, of a registry and a worker that run: as whoever operates them."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trio

from vsdk_trio.registry.core import Registry
from vsdk_trio.registry.ledger import LedgerState
from vsdk_trio.registry.server import open_registry

from ..system.conftest import Program, System, eventually, open_system
from .browser import Browser, needs_browser, open_browser
from .page import Page

pytestmark = [pytest.mark.real, pytest.mark.slow, needs_browser]

JOBS = "#jobs-body tr"
# So that a job is seen to wait for its process.
SLOW_START = {"num_idle_processes": 0, "max_processes": 2, "start_method": "spawn"}
# Every state that the rows of the jobs have been in, in the order in which they came to be seen.
WATCH = """
    window.states = [];
    new MutationObserver(() => document.querySelectorAll("#jobs-body tr").forEach((row) => {
        if (states.at(-1) !== row.dataset.state) states.push(row.dataset.state);
    })).observe(document.body, {subtree: true, childList: true, attributes: true})
"""
# What somebody who cannot see, or has no mouse, would stumble over.
NAMELESS = """
    [...document.querySelectorAll("input, textarea, button, [role=img], dialog, table th")]
        .filter((e) => !(e.innerText?.trim() || e.labels?.length || e.ariaLabel
            || e.getAttribute("aria-labelledby") || e.textContent.trim()))
        .map((e) => e.outerHTML)
"""
TOO_WIDE = """
    document.documentElement.scrollWidth <= document.documentElement.clientWidth ? []
        : [...document.querySelectorAll("main *")]
            .filter((e) => e.getBoundingClientRect().right > document.documentElement.clientWidth)
            .map((e) => `${e.tagName} ${e.id} ${e.className} ${e.textContent.slice(0, 40)}`)
"""


def url_of(worker: Program) -> str:
    return str(re.findall(r"dashboard at (\S+?),", worker.output)[-1])


def all_is_well(page: Page) -> None:
    """No errors, and nothing was asked for anywhere else."""
    assert page.problems == []
    assert len({urlsplit(url).netloc for url in page.requests}) == 1


@asynccontextmanager
async def operating(
    directory: Path, **options: Any
) -> AsyncGenerator[tuple[System, Program, Browser]]:
    """A registry, a worker and a browser."""
    async with open_system(directory) as system, open_browser() as browser:
        yield system, await system.open_agent(**options), browser


async def test_a_job_is_watched_through_its_states_and_terminated(tmp_path: Path) -> None:
    """Dispatched by the form of the registry's page, terminated by its button, on both pages."""
    async with (
        operating(tmp_path, **SLOW_START) as (system, worker, web),
        web.open_page(system.url) as registry,
        web.open_page(url_of(worker)) as page,
    ):
        for one in (registry, page):
            await one.until_text("#connection", "live")
            await one.evaluate(WATCH)
        await page.until_text("#state", "idle")
        await registry.until_text("#workers-body", "agent")
        assert await registry.evaluate("document.getElementById('agent').value") == "agent"
        await registry.evaluate(
            "document.getElementById('metadata').value = '{\"kind\": \"waits\"}'"
        )
        await registry.click("#room")
        await registry.type("<b>room</b>")
        await registry.press("Enter")
        await registry.until_text("#dispatched", "Assigned: job")
        await registry.until_text(JOBS, "running")
        await page.until_text(JOBS, "running")
        await page.until_text(JOBS, "<b>room</b>")
        await page.until_text("#processes-body", "busy")
        await page.until_text("#processes-body", "MB")
        await page.until_text("#slots-used", "1 of 2")
        await page.until_text("#lines", "job accepted")
        [job] = system.registry.jobs()
        await eventually(lambda: system.notes(job.job_id), "not begun")

        await registry.click(f"{JOBS} .terminate")
        await registry.until_text("#terminate-which", job.job_id)
        await registry.click("#reason")
        await registry.type("no longer needed")
        await registry.press("Enter")
        await registry.until_text(JOBS, "cancelled")
        await page.until_text(JOBS, "terminated: no longer needed")
        await page.until_text(JOBS, "cancelled")
        await page.until_text("#processes-title + *, #no-processes", "None")
        assert system.registry.job(job.job_id).state is LedgerState.CANCELLED
        # Others may come between, if they are caught.
        seen = await page.evaluate("states")
        assert [state for state in seen if state in ("assigned", "running", "cancelled")] == [
            "assigned",
            "running",
            "cancelled",
        ]
        assert (await registry.evaluate("states"))[-2:] == ["running", "cancelled"]
        await registry.click(f"{JOBS} td:nth-child(2) a")
        await registry.until_text("#moves", "ended: cancelled")
        await registry.until_text("#job-facts", job.job_id)
        all_is_well(registry)
        all_is_well(page)


# Each piece of a job's bar, from left to right, with its colour; and the track behind them.
BAR = """
    (() => {
        const bar = document.querySelector("#jobs-body .bar"), seen = (e) => getComputedStyle(e);
        const pieces = [...bar.children].map((e) => ({
            stage: e.className.split(" ")[1], left: e.getBoundingClientRect().left,
            colour: seen(e).backgroundColor,
        }));
        const known = [...document.querySelectorAll("#legend .stage")].map((e) => ({
            stage: e.className.split(" ")[1], colour: seen(e).backgroundColor,
        }));
        return {pieces, known, track: seen(bar).backgroundColor};
    })()
"""
ERROR = "the agent has a bug\n  and it says so\n  on three lines"


async def test_a_job_has_a_page_of_its_own(tmp_path: Path) -> None:
    async with operating(tmp_path, max_processes=3) as (system, worker, web):
        failed = await system.run_job("raises", text=ERROR, room_id="call-1")
        other = await system.run_job("returns", seconds=0.2, room_id="call-2")
        for url in (url_of(worker), system.url):
            async with web.open_page(url) as page:
                await page.until_text(JOBS, "failed")
                # The filter, the moment, the whole id.
                await page.click("#filter")
                await page.type("call-1 fail")
                await page.until("document.querySelectorAll('#jobs-body tr').length === 1")
                assert re.search(r"\d\d:\d\d:\d\d", await page.text("#jobs-body"))
                await page.evaluate(
                    "navigator.clipboard.writeText = async (text) => { window.copied = text }"
                )
                await page.click(f"{JOBS} .copy")
                await page.until(f"window.copied === '{failed.job_id}'")
                await page.until_text(f"{JOBS} .copy", "copied")
                # By the keyboard alone: to its link, and there.
                await page.evaluate("document.getElementById('filter').focus()")
                await page.press("Tab")
                await page.press("Enter")
                await page.until_text("#job-facts", failed.job_id)
                await page.until_text("#error", ERROR)  # with its lines
                await page.until_text("#state", "failed")
                await page.until_text("#moves", "running")
                assert await page.evaluate("location.pathname") == f"/jobs/{failed.job_id}"
                # By what the table shows of its id, too.
                await page.goto(f"{url}/jobs/{other.job_id[:8]}")
                await page.until_text("#job-facts", other.job_id)
                await page.until_text("#state", "completed")
                await page.goto(f"{url}/jobs/nothing-like-it")
                await page.until_text("#unknown", "No job nothing-like-it is remembered here")
                all_is_well(page)
        async with web.open_page(f"{url_of(worker)}/jobs/{failed.job_id}") as page:
            await page.until_text("#lines", "Traceback")
            await page.until_text("#lines", "job accepted")
            assert other.job_id not in await page.text("#lines")


async def test_a_bar_reads_from_left_to_right_with_a_legend(tmp_path: Path) -> None:
    async with (
        operating(tmp_path, **SLOW_START) as (system, worker, web),
        web.open_page(url_of(worker)) as page,
    ):
        await system.run_job("returns", seconds=0.3)
        await page.until("document.querySelector('#jobs-body .stage.told') !== null")
        bar = await page.evaluate(BAR)
        order = [piece["stage"] for piece in bar["known"]]
        assert order == ["offer", "process", "start", "join", "run", "told"]
        pieces = bar["pieces"]
        assert {"process", "run", "told"} <= {piece["stage"] for piece in pieces}
        assert pieces == sorted(pieces, key=lambda piece: piece["left"])
        assert pieces == sorted(pieces, key=lambda piece: order.index(piece["stage"]))
        colours = {piece["stage"]: piece["colour"] for piece in bar["known"]}
        assert len({*colours.values(), bar["track"]}) == len(order) + 1  # none looks like another
        assert all(colours[piece["stage"]] == piece["colour"] for piece in pieces)


async def test_what_is_blocked_or_full_looks_so(tmp_path: Path) -> None:
    rules = {"max_processes": 2, "ping_interval": 1, "loop_warn_after": 1}
    async with operating(tmp_path, **rules) as (system, worker, web):
        blocked = await system.dispatch("sleeps")
        async with web.open_page(url_of(worker)) as page, web.open_page(system.url) as registry:
            await page.until_text(JOBS, "blocked")
            await page.until_text("#processes-body", "blocked")
            await page.until_text("#notices", "1 job blocks its event loop")
            colour = "getComputedStyle(document.querySelector('#jobs-body .state')).color"
            assert await page.evaluate(colour) == await page.evaluate(
                "(() => { const e = document.createElement('i');"
                "e.style.color = 'var(--bad)'; document.body.append(e);"
                "return getComputedStyle(e).color })()"
            )
            await page.until_text("#state", "busy")
            await registry.until_text("#workers-body", "agent")
            assert "full" not in await registry.text("#workers-body")
            await system.dispatch("waits")
            await page.until_text("#state", "full")
            await registry.until_text("#workers-body", "full")
            await registry.until_text("#notices", "every worker of agent is full")
            await registry.until_text("#worker-under", "1 full")
            await page.goto(f"{url_of(worker)}/jobs/{blocked}")
            await page.until_text("#state", "blocked")
            await page.until_text("#job-facts", "its event loop has been blocked since")
            all_is_well(page)
            all_is_well(registry)


# What can be pressed or filled in; and which of them has the focus, with an outline.
REACHABLE = """
    window.reachable = [...document.querySelectorAll(
        "a[href], button, input, textarea, summary, [tabindex='0']")]
        .filter((e) => e.checkVisibility() && !e.disabled);
    reachable.length
"""
FOCUSED = """
    document.activeElement === document.body ? "nothing"
        : getComputedStyle(document.activeElement).outlineStyle === "none" ? "unseen"
        : reachable.indexOf(document.activeElement)
"""


async def test_everything_is_reached_by_the_keyboard_and_seen_to_be(tmp_path: Path) -> None:
    async with operating(tmp_path, max_processes=2) as (system, worker, web):
        failed = await system.run_job("raises", text=ERROR)
        await system.dispatch("waits")
        for site in (url_of(worker), system.url):
            for path, ready in (("/", JOBS), (f"/jobs/{failed.job_id}", "#job-facts")):
                async with web.open_page(site + path) as page:
                    await page.until_text(ready, failed.job_id[:8])
                    count = await page.evaluate(REACHABLE)
                    reached = set()
                    for _ in range(count + 4):  # a browser stops at what scrolls, too
                        await page.press("Tab")
                        reached.add(await page.evaluate(FOCUSED))
                    assert set(range(count)) <= reached, (site, path, reached)
                    assert "unseen" not in reached
                    all_is_well(page)


async def test_a_worker_is_drained_by_its_button(tmp_path: Path) -> None:
    async with operating(tmp_path) as (system, worker, web):
        job_id = await system.dispatch("waits")
        async with web.open_page(url_of(worker)) as page:
            await page.until_text(JOBS, "running")
            await page.click("#drain")
            await page.press("Tab")  # from "Keep it", which has the focus, to "Drain"
            await page.press("Enter")
            await page.until_text("#state", "draining")
            await page.until_text("#notices", "waits for 1 job to end")
            all_is_well(page)
            system.registry.terminate(job_id)
            assert await worker.exit_code() == 0, worker.output
            await page.until_text("#connection", "not reached; trying again")


async def test_refused_offers_say_why(tmp_path: Path) -> None:
    async with (
        operating(tmp_path, request_fnc="refuse") as (system, worker, web),
        web.open_page(url_of(worker)) as page,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(_dispatch_in_vain, system)
        await page.until_text("#refusals-body", "not on Sundays")
        await page.until_text("#refusals-aside", "request_fnc declined")
        nursery.cancel_scope.cancel()


async def _dispatch_in_vain(system: System) -> None:
    await system.dispatch("returns", room_id="sunday")


async def test_with_a_token_the_page_asks_for_it() -> None:
    async with (
        open_registry(Registry(auth_token="the-token")) as running,
        open_browser() as browser,
        browser.open_page(running.url) as page,
    ):
        await page.until_text("#token-message", "a token is needed here")
        assert await page.evaluate("document.getElementById('figures').offsetParent === null")
        await page.type("wrong")  # the field has the focus
        assert await page.evaluate("token.value") == "wrong"
        await page.press("Enter")
        await page.until_text("#token-message", "invalid token")
        await page.until("document.activeElement.id === 'token' && token.value === ''")
        await page.type("the-token")
        await page.press("Enter")
        await page.until_text("#connection", "live")
        await page.until_text("#no-workers", "None has registered")
        # What a stranger is told is told on the console, too; nothing else is.
        assert all("401" in problem for problem in page.problems)


async def test_the_pages_fit_a_phone_and_everything_has_a_name(tmp_path: Path) -> None:
    async with operating(tmp_path, max_processes=2) as (system, worker, web):
        long = "a-room-with-a-name-that-is-much-longer-than-any-phone-is-wide-" * 3
        await system.dispatch("waits", room_id=long)
        await system.run_job("raises")
        for url in (system.url, url_of(worker)):
            async with web.open_page(url) as page:
                await page.until_text(JOBS, "failed")
                assert await page.evaluate(NAMELESS) == []
                for width, dark in ((320, False), (390, True), (768, False), (1280, True)):
                    await page.look_like(width=width, dark=dark, phone=width < 500)
                    assert await page.evaluate(TOO_WIDE) == [], (url, width)
                all_is_well(page)


async def test_the_page_comes_back_by_itself() -> None:
    """And shows the registry that is there now, which knows nothing of the one before."""
    async with open_browser() as browser, browser.open_page() as page:
        async with open_registry() as running:
            port = int(running.url.rpartition(":")[2])
            await page.goto(running.url)
            await page.until_text("#connection", "live")
        await page.until_text("#connection", "not reached; trying again")
        async with open_registry(port=port):
            await page.until_text("#connection", "live")
        assert all("ERR_CONNECTION_REFUSED" in problem for problem in page.problems)
