"""`python -m tests.faults.soak --jobs N`: many jobs through one worker while things go wrong.

Everything is real: a registry program, a proxy between it and the worker, the worker program and
its job processes. At the end every job that was taken must have ended once and as it did end, and
the worker must occupy what it occupied at the beginning.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from ..system.conftest import Program, Programs, eventually
from .figures import HEADER, Figures, look
from .proxy import open_proxy
from .record import Record, Tail
from .registry_life import RegistryLife
from .trouble import Trouble

AGENT = Path(__file__).with_name("agents") / "soak_agent.py"
KINDS = {"returns": 12, "waits": 4, "raises": 2, "exits": 1, "crashes": 1, "floods": 1, "forks": 1}
SLOTS = 6
IDLE = 2
# Jobs until the worker has loaded all it loads late, and its memory has its shape.
WARM_UP_JOBS = 60
# The ended jobs that the worker remembers are a few hundred bytes each, at most 4096 of them; and
# an allocator does not give every page back.
MEMORY_TOLERANCE_MB = 8.0
# Threads that wait for more work end after ten seconds; processes of jobs end within their graces.
SETTLE_SECONDS = 60.0


@attrs.define(kw_only=True)
class Soak:
    """One worker, and all that happens to it."""

    programs: Programs
    registry: RegistryLife
    trouble: Trouble
    record: Record
    rng: random.Random
    limit: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(SLOTS + 2))
    looks: list[Figures] = attrs.field(factory=list)

    @property
    def worker(self) -> Program:
        return self.trouble.worker

    async def run_jobs(
        self, count: int, fault_seconds: float = math.inf, *, until: float = math.inf
    ) -> None:
        """Until the worker has taken `count` jobs, the ones before included; then calm down.

        Stops early at `until`, on trio's clock. `fault_seconds`: the mean time between faults.
        """
        async with trio.open_nursery() as making:
            making.start_soon(self._make_trouble, fault_seconds)
            async with trio.open_nursery() as nursery:
                while self._taken() < count and trio.current_time() < until:
                    ticket = object()
                    await self.limit.acquire_on_behalf_of(ticket)
                    nursery.start_soon(self._one_job, ticket)
            making.cancel_scope.cancel()
        self.trouble.proxy.heal()
        await self.calm_down()

    def _taken(self) -> int:
        self.record.read()
        return self.record.accepted

    async def _make_trouble(self, mean_seconds: float) -> None:
        while True:
            await trio.sleep(self.rng.uniform(0.2, 1.8) * mean_seconds)
            with trio.CancelScope(shield=True):  # a registry must not stay killed
                await self.trouble.make_one()

    async def _one_job(self, ticket: object) -> None:
        try:
            (kind,) = self.rng.choices(list(KINDS), weights=list(KINDS.values()))
            # What nobody terminates ends by itself: the registry that knew of it may be dead.
            seconds = 3.0 if kind == "waits" else self.rng.choice([0.0, 0.0, 0.05, 0.3])
            job_id = await self.registry.dispatch(kind=kind, seconds=seconds)
            if job_id is None:
                await trio.sleep(0.2)
            elif kind == "waits":
                await trio.sleep(self.rng.uniform(0, 0.6))
                await self.registry.terminate(job_id)
        finally:
            self.limit.release_on_behalf_of(ticket)

    async def calm_down(self) -> None:
        """Wait until every job has ended, and only what is always there is there."""

        def is_calm() -> bool:
            self.record.read()
            return not self.record.unended and len(self.programs.job_processes()) == IDLE

        await eventually(is_calm, "it does not calm down", seconds=SETTLE_SECONDS)

    async def look_calmly(self, *, before: Figures | None = None) -> Figures:
        """Look at the worker, once it has its link and has let go of what it needs no more."""
        deadline = trio.current_time() + SETTLE_SECONDS
        while True:
            now = look(self.worker.pid, jobs=self._taken())
            is_there = await self.registry.has_worker()
            if trio.current_time() > deadline or (
                is_there and (before is None or not breaches(before, now))
            ):
                self.looks.append(now)
                return now
            await trio.sleep(0.3)

    async def finish(self) -> list[str]:
        """Stop the worker and the registry; returns every breach of a promise."""
        found = []
        if (health := await self.health()) != "OK":
            found.append(f"/health says {health!r}")
        self.worker.process.terminate()
        if code := await self.worker.exit_code(seconds=SETTLE_SECONDS):
            found.append(f"the worker ended with {code}")
        await self.registry.kill()
        try:
            await self.programs.nothing_left()
        except AssertionError as error:
            found.append(str(error))
        self.record.read()
        found += self.record.breaches(self.trouble.killed)
        # Errors of its own, as opposed to what its jobs print, and the runners say of them.
        own_errors = r"^\S+ (?:ERROR  |CRITICAL) (?!job:|runner\.).*"
        found += re.findall(own_errors, self.worker.output, re.MULTILINE)
        return found

    async def health(self) -> str:
        """What `/health` says."""
        (_, _, rest) = self.worker.output.partition("health at ")
        url = rest.split()[0]

        def get() -> str:
            with urllib.request.urlopen(url, timeout=20) as answer:
                return str(answer.read().decode())

        return await trio.to_thread.run_sync(get)


def breaches(before: Figures, after: Figures) -> list[str]:
    """Where a worker occupies more than it did."""
    found = [
        f"{name}: {getattr(before, name)} before, {getattr(after, name)} after"
        for name in ("fds", "threads", "processes")
        if getattr(after, name) > getattr(before, name)
    ]
    for name in ("rss_mb", "pss_mb"):
        if getattr(after, name) > getattr(before, name) + MEMORY_TOLERANCE_MB:
            found.append(
                f"{name}: {getattr(before, name):.1f} before, {getattr(after, name):.1f} after"
            )
    return found


@asynccontextmanager
async def open_soak(directory: Path, *, seed: int) -> AsyncGenerator[Soak]:
    """A registered worker that nothing has happened to yet. It is stopped at the end."""
    programs = Programs(directory)
    registry = RegistryLife(programs)
    rng = random.Random(seed)
    try:
        await registry.start()
        async with open_proxy(registry.port) as proxy:
            options = {
                "agent_id": "agent",
                "auth_token": "worker-token",
                "register": True,
                "backend_url": f"ws://127.0.0.1:{proxy.port}",
                "host": "127.0.0.1",
                "port": 0,
                "max_processes": SLOTS,
                "num_idle_processes": IDLE,
                "max_retry": 100_000,
                "heartbeat_interval": 2.0,
                "registration_timeout": 4.0,
                "initialize_timeout": 30.0,
                "close_timeout": 20.0,
                "log_format": "console",  # which is how `Record` and `finish` read it
            }
            (directory / "options.json").write_text(json.dumps(options), encoding="utf-8")
            worker = await programs.start(str(AGENT))
            trouble = Trouble(
                programs=programs, worker=worker, proxy=proxy, registry=registry, rng=rng
            )
            record = Record(
                worker_log=Tail(worker.log),
                notes=Tail(directory / "notes.txt"),
                frames=Tail(registry.record),
            )
            soak = Soak(
                programs=programs, registry=registry, trouble=trouble, record=record, rng=rng
            )
            await eventually(programs.guardians, "no worker")
            yield soak
    finally:
        await programs.end()


async def run_soak(
    directory: Path,
    *,
    jobs: int,
    seed: int,
    fault_seconds: float,
    seconds: float = math.inf,
    looks: int = 10,
) -> list[str]:
    """Run a soak and print what came of it; returns every breach of a promise.

    `seconds` ends it early; `looks`, how often the jobs pause for a look at the worker.
    """
    began = time.monotonic()
    async with open_soak(directory, seed=seed) as soak:
        until = trio.current_time() + seconds
        await soak.calm_down()
        print(HEADER)

        async def show(before: Figures | None = None) -> Figures:
            now = await soak.look_calmly(before=before)
            print(now.row(began), flush=True)
            return now

        await show()
        # The HTTP stack is loaded when it is first asked for.
        found = [] if await soak.health() == "OK" else ["/health is not OK at the start"]
        await soak.run_jobs(min(WARM_UP_JOBS, jobs // 2))
        start = await show()
        for n in range(1, looks + 1):
            if n > 1:
                await show()
            count = start.jobs + (jobs - start.jobs) * n // looks
            await soak.run_jobs(count, fault_seconds, until=until)
            if trio.current_time() > until:
                break
        found += breaches(start, await show(start))
        found += await soak.finish()
        print_summary(soak, time.monotonic() - began)
    return found


def print_summary(soak: Soak, seconds: float) -> None:
    """What has been done, and how it ended."""
    record = soak.record
    print(f"\n{record.accepted} jobs taken in {seconds:.0f} s, {record.updates} job updates,")
    print(f"{record.registrations} registrations over {soak.trouble.proxy.accepted} connections")
    for word, count in record.ends().most_common():
        print(f"  {count:>6} {word}")
    print(f"{sum(soak.trouble.made.values())} faults")
    for name, count in soak.trouble.made.most_common():
        print(f"  {count:>6} {name}")


def main() -> int:
    """Returns 1 where a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000, help="how many jobs (1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the faults and the jobs (0)")
    parser.add_argument("--every", type=float, default=4.0, help="seconds between faults (4)")
    parser.add_argument("--directory", type=Path, help="where to keep logs and records")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop early after these")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vsdk-soak-") as temporary:
        directory = options.directory or Path(temporary)
        directory.mkdir(parents=True, exist_ok=True)

        async def run() -> list[str]:
            return await run_soak(
                directory,
                jobs=options.jobs,
                seed=options.seed,
                fault_seconds=options.every,
                seconds=options.minutes * 60,
            )

        found = trio.run(run)
    for breach in found[:50]:
        print(f"BROKEN: {breach}")
    print("broken promises:", len(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
