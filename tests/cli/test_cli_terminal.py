"""The program on a terminal: colours where they are wanted, the screen put back at the end."""

from __future__ import annotations

import os
import pty
import signal
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio

from vsdk_trio.registry.core import Registry
from vsdk_trio.registry.server import open_registry

from .conftest import PROGRAM, clean_environment, run_cli

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("unmeasured")]

COLOUR = "\x1b[1m"
OTHER_SCREEN, OWN_SCREEN = "\x1b[?1049h", "\x1b[?1049l"
HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


@attrs.define
class Terminal:
    """A program on a terminal of its own; `text` is what stands there so far."""

    process: trio.Process
    master: trio.lowlevel.FdStream
    text: str = ""

    async def read_until(self, part: str) -> None:
        with trio.move_on_after(20):
            while part not in self.text and await self._read_some():
                pass
        assert part in self.text, self.text

    async def type(self, keys: bytes) -> None:
        await self.master.send_all(keys)

    async def end(self) -> int:
        with trio.fail_after(20):
            while await self._read_some():
                pass
            return await self.process.wait()

    async def _read_some(self) -> bool:
        try:
            chunk = await self.master.receive_some()
        except trio.BrokenResourceError:  # EIO: nobody has the terminal open any more
            return False
        self.text += chunk.decode(errors="replace")
        return bool(chunk)


@asynccontextmanager
async def open_terminal(
    *args: str, env: Mapping[str, str] | None = None
) -> AsyncGenerator[Terminal]:
    master, slave = pty.openpty()
    process = await trio.lowlevel.open_process(
        [*PROGRAM, *args],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=clean_environment(env),
        start_new_session=True,
        # So that Ctrl-C means something: the terminal sends it to whom it belongs.
        preexec_fn=take_terminal,
    )
    os.close(slave)
    async with trio.lowlevel.FdStream(master) as stream:
        try:
            yield Terminal(process, stream)
        finally:
            if process.poll() is None:
                process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()


def take_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


async def test_help_has_colours_where_they_are_wanted() -> None:
    async with open_terminal("--help") as terminal:
        assert await terminal.end() == 0
    assert COLOUR in terminal.text
    for name in ("NO_COLOR", "TERM"):
        async with open_terminal("jobs", "--help", env={name: "dumb"}) as terminal:
            assert await terminal.end() == 0
        assert "\x1b[3" not in terminal.text, name


@pytest.mark.parametrize("stop", ["key", "signal"])
async def test_top_puts_the_screen_back(stop: str) -> None:
    async with (
        open_registry(Registry()) as running,
        open_terminal("top", running.url, "--every", "0.5") as terminal,
    ):
        await terminal.read_until("workers 0")
        assert OTHER_SCREEN in terminal.text
        if stop == "key":
            await terminal.type(b"\x03")
        else:
            terminal.process.send_signal(signal.SIGINT)
        assert await terminal.end() == 130
    assert terminal.text.rindex(OWN_SCREEN) > terminal.text.rindex(OTHER_SCREEN)
    assert terminal.text.rindex(SHOW_CURSOR) > terminal.text.rindex(HIDE_CURSOR)
    assert "Traceback" not in terminal.text


async def test_the_doctor_is_interrupted() -> None:
    async def never_answer(stream: trio.SocketStream) -> None:
        while await stream.receive_some():
            pass

    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, never_answer, 0, host="127.0.0.1")
        listeners = await nursery.start(serve)
        port = listeners[0].socket.getsockname()[1]
        env = {"VIDEOSDK_AUTH_TOKEN": "local"}
        url = f"http://127.0.0.1:{port}"
        async with open_terminal("doctor", "--signaling-base-url", url, env=env) as terminal:
            await terminal.read_until("init-config ...")  # what it waits for is said
            await terminal.type(b"\x03")
            assert await terminal.end() == 130
        nursery.cancel_scope.cancel()
    assert "Traceback" not in terminal.text
    assert terminal.text.rindex(SHOW_CURSOR) > terminal.text.rindex(HIDE_CURSOR)


async def test_what_is_piped_has_no_control_codes() -> None:
    async with open_registry(Registry()) as running:
        for args in (
            ("jobs", "--registry", running.url),
            ("workers", "--registry", running.url),
            ("top", running.url, "--once"),
            ("doctor", "--signaling-base-url", running.url),
            ("--help",),
            ("nothing",),
        ):
            done = await run_cli(*args, env={"VIDEOSDK_AUTH_TOKEN": "local"})
            assert "\x1b" not in done.out + done.err, args


@pytest.mark.parametrize("command", ["--help", "run --help", "jobs --json", "top --json"])
async def test_nobody_reads_it_any_more(command: str) -> None:
    async with open_registry(Registry()) as running:
        with trio.fail_after(30):
            done = await trio.run_process(
                ["sh", "-c", f"{' '.join(PROGRAM)} {command} | head -c 5 | wc -c"],
                capture_stdout=True,
                capture_stderr=True,
                env=clean_environment({"VSDK_TRIO_REGISTRY_URL": running.url}),
            )
    assert done.stdout.strip() == b"5"
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("words", "expected"),
    [("vsdk-trio do", "doctor"), ("vsdk-trio run a.py --log-level W", "WARNING")],
)
async def test_the_shell_completes(words: str, expected: str) -> None:
    program = Path(sys.executable).with_name("vsdk-trio")
    env = {
        "_VSDK_TRIO_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    done = await trio.run_process([program], capture_stdout=True, env=clean_environment(env))
    assert expected in done.stdout.decode().split()


async def test_a_command_loads_what_it_needs_and_no_more() -> None:
    probe = (
        "import sys; sys.argv = ['vsdk-trio', *{args!r}]\n"
        "from vsdk_trio.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = 'trio httpcore starlette hypercorn cattrs orjson attrs watchfiles'\n"
        "print([m for m in heavy.split() if m in sys.modules], file=sys.stderr)\n"
    )
    for args in (["version"], ["--version"], ["--help"]):
        done = await trio.run_process(
            [sys.executable, "-c", probe.format(args=args)],
            capture_stdout=True,
            capture_stderr=True,
            env=clean_environment(),
        )
        assert done.stderr.decode().splitlines()[-1] == "[]", args
