"""Commands on a real terminal of a given width, by tmux: what a person sees there."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import attrs
import pytest
import trio

from vsdk_trio.registry.core import Registry
from vsdk_trio.registry.ledger import DispatchRequest
from vsdk_trio.registry.server import RunningRegistry, open_registry

from .conftest import clean_environment, open_cli, run_cli
from .test_cli_terminal import open_terminal

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.usefixtures("unmeasured"),
    pytest.mark.skipif(
        shutil.which("tmux") is None, reason="no tmux on this machine: apt-get install tmux"
    ),
]

AGENT = """
import time, trio
from pathlib import Path
BLOCK = Path(__file__).with_name("block")
async def entrypoint(ctx):
    match ctx.metadata.get("kind"):
        case "raises":
            raise ValueError("the model said no\\n" + "and here is why, at length; " * 30)
        case "blocks":
            while BLOCK.exists():
                time.sleep(0.1)
        case _:
            await trio.sleep_forever()
"""
OVER = "over-and-out"
ROOM = "a-room-with-a-name-that-is-longer-than-its-column"


class AlikeIds(Random):
    """Makes ids that begin alike, and tell apart by their ninth character."""

    made = 0

    def getrandbits(self, count: int, /) -> int:
        AlikeIds.made += 1
        return (0xE32B6455 << 96) | (AlikeIds.made << 92) | super().getrandbits(92)


@attrs.frozen
class Screen:
    """A tmux server of one window."""

    socket: Path

    async def tmux(self, *args: str) -> str:
        command = ["tmux", "-S", str(self.socket), "-f", "/dev/null", *args]
        with trio.fail_after(20):
            done = await trio.run_process(
                command, capture_stdout=True, env=clean_environment({"TERM": "xterm-256color"})
            )
        return done.stdout.decode()

    async def lines(self) -> list[str]:
        """What is on the screen, without the empty lines."""
        text = await self.tmux("capture-pane", "-p")
        return [line for line in text.splitlines() if line.strip()]

    async def styled(self) -> list[str]:
        """The same, with what colours it."""
        text = await self.tmux("capture-pane", "-p", "-e")
        return [line for line in text.splitlines() if line.strip()]

    async def until(self, part: str) -> list[str]:
        """Wait until that is on the screen; returns all of it."""
        shown: list[str] = []
        with trio.move_on_after(30):
            while not any(part in line for line in shown):
                await trio.sleep(0.1)
                shown = await self.lines()
        assert any(part in line for line in shown), shown
        return shown


@asynccontextmanager
async def on_screen(
    directory: Path, command: str, *, columns: int, rows: int = 50, plain: bool = False
) -> AsyncGenerator[Screen]:
    """Run `vsdk-trio COMMAND` in a window of that size; it stays there when it has ended."""
    # A server of its own each time: one that ends would take the next window with it.
    screen = Screen(Path(tempfile.mkdtemp(dir=directory)) / "tmux")
    run = f"{shlex.quote(sys.executable)} -m vsdk_trio {command}"
    program = (
        f"env -u COLUMNS -u LINES {'NO_COLOR=1' if plain else ''} {run}; echo {OVER}; sleep 60"
    )
    size = ("-x", str(columns), "-y", str(rows))
    await screen.tmux("new-session", "-d", *size, "sh", "-c", program)
    try:
        yield screen
    finally:
        with trio.move_on_after(10, shield=True):
            await screen.tmux("kill-server")


async def styles_of(screen: Screen, part: str) -> list[str]:
    """The colours of the line that has this in it, as a terminal numbers them."""
    [line] = [line for line in await screen.styled() if part in line]
    codes = [code for codes in re.findall(r"\x1b\[([\d;]*)m", line) for code in codes.split(";")]
    return [code for code in codes if code.startswith(("3", "4", "9")) and code not in ("39", "49")]


@asynccontextmanager
async def open_site(directory: Path, *args: str) -> AsyncGenerator[tuple[RunningRegistry, str]]:
    """A registry and a worker of agent `a`; yields the worker's URL, too."""
    (directory / "agent.py").write_text(AGENT)
    (directory / "block").touch()
    async with open_registry(Registry(rng=AlikeIds(1))) as running:
        env = {
            "VSDK_TRIO_SIGNALING_BASE_URL": running.url,
            "VSDK_TRIO_TRANSPORT": "loopback",
            "VIDEOSDK_AUTH_TOKEN": "local",
            "VSDK_TRIO_LOG_FORMAT": "console",
        }
        run = ("run", "agent.py", "--agent-id", "a", "--port", "0", "--host", "127.0.0.1", *args)
        async with open_cli(*run, env=env, cwd=directory) as worker:
            await worker.read_until("registered with the registry")
            try:
                yield running, worker.text.partition("dashboard at ")[2].partition(",")[0]
            finally:
                (directory / "block").unlink()  # so that nothing is left of the job


async def start(running: RunningRegistry, kind: str) -> str:
    request = DispatchRequest(agent_id="a", room_id=ROOM, metadata={"kind": kind})
    return (await running.registry.dispatch(request)).job_id


async def test_a_job_is_a_line_and_is_named_by_what_is_shown(tmp_path: Path) -> None:
    async with open_site(tmp_path, "--max-processes", "4") as (running, _):
        failed = [await start(running, "raises") for _ in range(3)]
        for job_id in failed:
            await running.registry.wait_ended(job_id)
        waiting = await start(running, "waits")
        registry = ("--registry", running.url)
        for columns in (40, 80, 200):
            command = f"jobs {' '.join(registry)}"
            async with on_screen(tmp_path, command, columns=columns) as screen:
                shown = await screen.until(OVER)
                rows = [line for line in shown if line.startswith("e32b6455")]
                assert len(rows) == 4, shown
                assert len(shown) == 6  # and the head, and OVER
                assert sum("failed" in row for row in rows) == 3
                assert columns < 80 or sum(row.rstrip().endswith("…") for row in rows) == 3
        short = rows[-1].split()[0]
        assert waiting.startswith(short)
        assert len(short) < len(waiting)

        done = await run_cli("terminate", "e32b6455", *registry)
        assert done.code == 1
        assert all(job_id in done.err for job_id in (*failed, waiting)), done
        done = await run_cli("terminate", short, *registry)
        assert (done.code, done.out) == (0, f"{waiting} terminating\n")
        done = await run_cli("jobs", failed[0][:10], *registry)
        assert done.out.count("and here is why, at length") == 30
        assert "the model said no\n" in done.out
        done = await run_cli("jobs", failed[0][:10], *registry, "--json")
        assert json.loads(done.out)["job"]["job_id"] == failed[0]
        done = await run_cli("jobs", "nothing-like-it", *registry)
        assert (done.code, done.out) == (1, "")
        assert "no job 'nothing-like-it'" in done.err


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
async def test_dumb_terminals_and_no_color(name: str, value: str, tmp_path: Path) -> None:
    async with open_site(tmp_path) as (running, _):
        await running.registry.wait_ended(await start(running, "raises"))
        env = {name: value, "COLUMNS": "80"}
        async with open_terminal("jobs", "--registry", running.url, env=env) as terminal:
            assert await terminal.end() == 0
        assert len(terminal.text.splitlines()) == 2, terminal.text
        assert "\x1b[3" not in terminal.text


@pytest.mark.timeout(180)  # six terminals, one after the other
@pytest.mark.parametrize("columns", [60, 80])
async def test_what_is_blocked_and_what_is_full_is_seen_at_once(
    columns: int, tmp_path: Path
) -> None:
    rules = ("--max-processes", "2", "--ping-interval", "1", "--loop-warn-after", "1")
    async with open_site(tmp_path, *rules) as (running, worker):
        blocked = await start(running, "blocks")
        async with on_screen(tmp_path, f"top {worker}", columns=columns, rows=20) as screen:
            shown = await screen.until("BLOCKED")
            assert not any("full" in line for line in shown)
            await start(running, "waits")
            await screen.until("full")
            with trio.fail_after(30):  # the idle process goes
                while len(shown := await screen.lines()) != 4:  # noqa: ASYNC110  # it has no event
                    await trio.sleep(0.1)
            assert shown[0].startswith("worker ")
            assert "jobs 2 of 2" in shown[0]
            [row] = [line for line in shown if "BLOCKED" in line]
            assert blocked[:8] in row
            assert "33" in await styles_of(screen, "BLOCKED")
        for command in ("top --once", "workers --registry"):
            once = f"{command} {running.url}"
            async with on_screen(tmp_path, once, columns=columns, rows=20) as screen:
                shown = await screen.until(OVER)
                [row] = [line for line in shown if "full" in line]
                assert row.split()[0].startswith("e32b6455")
                assert len(shown) == (7 if "top" in command else 3), shown
                assert "33" in await styles_of(screen, "full")
            async with on_screen(tmp_path, once, columns=columns, rows=20, plain=True) as screen:
                assert await screen.until("full")
                assert not await styles_of(screen, "full")


async def test_more_jobs_than_lines_show_the_newest(tmp_path: Path) -> None:
    async with open_site(tmp_path, "--max-processes", "20") as (running, _):
        for _ in range(12):
            await running.registry.wait_ended(await start(running, "raises"))
        newest = await start(running, "waits")
        command = f"jobs --watch --registry {running.url}"
        async with on_screen(tmp_path, command, columns=80, rows=9) as screen:
            shown = await screen.until("running")
            assert shown[1] == "… 7 more"
            assert newest.startswith(shown[-1].split()[0])
            assert len(shown) == 8
