"""`python -m tests.ways`: the functions on each of the four ways, in order, with their files.

docs/ways has one page for each. A simulated worker and a runner on real pipes walk them; what is
counted is every function of the package that is called on the way, except the fakes.
"""

# ruff: noqa: ASYNC110, ASYNC220, ASYNC240  # it waits for another program, and nothing else runs

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import trio
import trio.testing

PACKAGE = "vsdk_trio" + os.sep
FAKES = ("testing", "cli")
Step = tuple[str, str]  # a file, a function


class Walk:
    """The functions that are called in the body of `watched`, each once, in their order."""

    def __init__(self) -> None:
        self.steps: dict[Step, None] = {}
        self.is_on = True

    def note(self, frame: FrameType, event: str, argument: object) -> None:
        """Called by Python."""
        if event == "call" and self.is_on:
            code = frame.f_code
            _, found, file = code.co_filename.rpartition(os.sep + PACKAGE)
            if found and not file.startswith(FAKES) and not code.co_name.startswith("<"):
                self.steps.setdefault((file, code.co_qualname.replace("<locals>.", "")))

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Note what is called in the body."""
        before = sys.getprofile()
        sys.setprofile(self.note)
        try:
            yield
        finally:
            sys.setprofile(before)


def in_a_world(scene: Callable[[Walk], Awaitable[None]], walk: Walk) -> None:
    trio.run(scene, walk, clock=trio.testing.MockClock(autojump_threshold=0))


async def offer(walk: Walk) -> None:
    from tests.worker.conftest import open_world

    async with open_world(num_idle_processes=1, max_processes=20) as world:
        await trio.sleep(5)
        with walk.watched():
            assert (await world.offer("a"))["available"]


async def assignment(walk: Walk) -> None:
    from tests.worker.conftest import open_world

    async with open_world(num_idle_processes=1, max_processes=20) as world:
        await trio.sleep(5)
        assert (await world.offer("a"))["available"]
        await trio.sleep(1)
        before = len(world.runner.started)
        with walk.watched():
            await world.assign("a", seconds=60)
            while len(world.runner.started) == before:
                await trio.lowlevel.checkpoint()


async def first_line(walk: Walk) -> None:
    """The other half of an assignment: in the job process."""
    from tests.runner.test_first_line import running_over_pipes, start

    async def entrypoint(ctx: object) -> None:
        sys.setprofile(None)
        began.set()
        await trio.sleep_forever()

    began = trio.Event()
    async with running_over_pipes(entrypoint) as channel:
        with walk.watched():
            await channel.send(start())
            await began.wait()


async def last_line(walk: Walk) -> None:
    """The first half of an end: in the job process."""
    from tests.runner.test_first_line import running_over_pipes, start

    async def entrypoint(ctx: object) -> None:
        sys.setprofile(walk.note)

    with trio.CancelScope() as scope:
        async with running_over_pipes(entrypoint) as channel:
            await channel.send(start())
            while type(await channel.__anext__()).__name__ != "Finished":
                pass
            sys.setprofile(None)
            scope.cancel()  # the job has ended already


async def end(walk: Walk) -> None:
    from tests.worker.conftest import open_world

    async with open_world(num_idle_processes=1, max_processes=20) as world:
        await trio.sleep(5)
        assert (await world.offer("a"))["available"]
        await world.assign("a", seconds=3)
        await trio.sleep(2.99)
        before = len(world.observed)
        with walk.watched():
            await world.end_of("a")
            while not any(
                type(each).__name__ in ("MessageProven", "MessageAcknowledged")
                for each in world.observed[before:]
            ):
                await trio.sleep(0.05)


WORKER = """
import sys
sys.path.insert(0, {tree!r})
from tests.ways import walk_from_a_signal
from vsdk_trio import JobContext, Options, RoomOptions, WorkerJob

async def entrypoint(ctx):
    await ctx.run_until_shutdown()

if __name__ == "__main__":
    walk_from_a_signal({found!r})
    WorkerJob(
        entrypoint,
        jobctx=JobContext(room_options=RoomOptions(transport_mode="loopback")),
        options=Options(
            agent_id="agent", register=True, auth_token="t", signaling_base_url={url!r},
            host="127.0.0.1", port=0, drain_timeout=60,
        ),
    ).start()
"""


def walk_from_a_signal(found: str) -> None:
    """Note what this program calls from the moment in which SIGTERM is sent; written at the end."""
    walk, go = Walk(), Path(found + ".go")
    walk.is_on = False

    def wait() -> None:
        while not go.exists():
            time.sleep(0.01)
        walk.is_on = True

    threading.Thread(target=wait, daemon=True).start()
    sys.setprofile(walk.note)
    import atexit

    def write() -> None:
        Path(found).write_text("\n".join("\t".join(step) for step in walk.steps))

    atexit.register(write)


async def shutdown(walk: Walk) -> None:
    """A real worker with a running job; the job is terminated while the worker drains."""
    from vsdk_trio.registry.core import Registry
    from vsdk_trio.registry.ledger import DispatchRequest, LedgerState
    from vsdk_trio.registry.server import open_registry

    with tempfile.TemporaryDirectory() as directory:
        found = str(Path(directory) / "found")
        async with open_registry(Registry(auth_token="t")) as running:
            program = Path(directory) / "agent.py"
            program.write_text(WORKER.format(tree=str(Path.cwd()), found=found, url=running.url))
            worker = subprocess.Popen([sys.executable, str(program)], stderr=subprocess.DEVNULL)
            while not running.registry.workers():
                await trio.sleep(0.02)
            job = await running.registry.dispatch(DispatchRequest(agent_id="agent", room_id="r"))
            while running.registry.job(job.job_id).state is not LedgerState.RUNNING:
                await trio.sleep(0.02)
            await trio.sleep(1)
            Path(found + ".go").touch()
            await trio.sleep(0.05)
            worker.send_signal(signal.SIGTERM)
            await trio.sleep(0.5)
            running.registry.terminate(job.job_id, "seen enough")
            while worker.poll() is None:
                await trio.sleep(0.02)
        for line in Path(found).read_text().splitlines():
            file, _, function = line.partition("\t")
            walk.steps.setdefault((file, function))


def walk_offer() -> Walk:
    in_a_world(offer, walk := Walk())
    return walk


def walk_assignment() -> Walk:
    in_a_world(assignment, walk := Walk())
    trio.run(first_line, walk)
    return walk


def walk_end() -> Walk:
    trio.run(last_line, walk := Walk())
    in_a_world(end, walk)
    return walk


def walk_shutdown() -> Walk:
    trio.run(shutdown, walk := Walk())
    return walk


WAYS = {
    "offer": walk_offer,
    "assignment": walk_assignment,
    "end": walk_end,
    "shutdown": walk_shutdown,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.ways", description=__doc__)
    parser.add_argument("--way", choices=list(WAYS), action="append", help="only this one")
    for name in parser.parse_args().way or WAYS:
        walk = WAYS[name]()
        files = list(dict.fromkeys(file for file, _ in walk.steps))
        print(f"{name}: {len(walk.steps)} functions in {len(files)} files")
        for file in files:
            functions = [function for other, function in walk.steps if other == file]
            print(f"  {file}: {', '.join(functions)}")


if __name__ == "__main__":
    main()
