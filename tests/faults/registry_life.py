"""The lives of one registry: a program on one port, killed and started again; asked over HTTP."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Any

import attrs
import trio

from ..system.conftest import PATIENCE_SECONDS, Program, Programs, eventually

PROGRAM = Path(__file__).with_name("registry_program.py")
_NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@attrs.define
class RegistryLife:
    """A registry program; its record of frames goes on from life to life."""

    programs: Programs
    port: int = 0
    _program: Program | None = None
    _threads: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(100))

    @property
    def record(self) -> Path:
        return self.programs.directory / "frames.jsonl"

    @property
    def program(self) -> Program:
        assert self._program is not None, "it has not been started"
        return self._program

    @property
    def pid(self) -> int:
        return self.program.pid

    async def start(self) -> None:
        """Start it, on the port that it had before, and wait until it serves."""
        program = await self.programs.start(str(PROGRAM), str(self.port), str(self.record))
        self._program = program
        found = await eventually(
            lambda: re.search(r"http://\S+:(\d+)\n", program.output) or program.process.poll(),
            "no registry",
        )
        assert isinstance(found, re.Match), program.output
        self.port = int(found[1])

    async def kill(self) -> None:
        """SIGKILL."""
        self.program.process.kill()
        await self.program.process.wait()

    async def call(
        self, method: str, path: str, body: object = None, *, seconds: float = 30.0
    ) -> tuple[int, dict[str, Any]]:
        """Status and JSON of one request; the status is 0 where the registry was not there."""

        def ask() -> tuple[int, dict[str, Any]]:
            request = urllib.request.Request(
                f"http://127.0.0.1:{self.port}{path}",
                data=None if method == "GET" else json.dumps(body or {}).encode(),
                headers={"Content-Type": "application/json"},
                method=method,
            )
            try:
                with _NO_PROXY.open(request, timeout=seconds) as answer:
                    return answer.status, json.loads(answer.read())
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, json.loads(error.read())
            except (OSError, HTTPException, ValueError):
                return 0, {}

        return await trio.to_thread.run_sync(ask, limiter=self._threads, abandon_on_cancel=True)

    async def dispatch(self, **metadata: Any) -> str | None:
        """Dispatch a job; its id, or None where the registry could not place it, or was not there.

        None does not mean that no worker has the job: the registry may have died in between.
        """
        body = {"agentId": "agent", "meetingId": "room", "metadata": metadata}
        status, answer = await self.call("POST", "/v2/agent/dispatch", body)
        return str(answer["data"]["jobId"]) if status == 200 else None

    async def terminate(self, job_id: str) -> int:
        """Ask for a job's end; the HTTP status."""
        path = f"/v2/agent/jobs/{job_id}/terminate"
        return (await self.call("POST", path, {"reason": "enough"}))[0]

    async def terminated(self, job_id: str) -> None:
        """Ask until the registry, which may be starting, knows the job and has passed it on."""
        with trio.fail_after(PATIENCE_SECONDS):
            while await self.terminate(job_id) != 202:  # noqa: ASYNC110  # over HTTP
                await trio.sleep(0.1)

    async def dispatched(self, **metadata: Any) -> str:
        """Dispatch until a job is placed: the worker may be there on a link that is dead."""
        with trio.fail_after(2 * PATIENCE_SECONDS):
            while not (job_id := await self.dispatch(**metadata)):  # noqa: ASYNC110  # over HTTP
                await trio.sleep(0.1)
        return job_id

    async def worker_is_there(self) -> None:
        """Wait until one is."""
        with trio.fail_after(2 * PATIENCE_SECONDS):
            while not await self.has_worker():  # noqa: ASYNC110  # over HTTP
                await trio.sleep(0.05)

    async def has_worker(self) -> bool:
        """Whether a worker is registered, and there."""
        _, answer = await self.call("GET", "/health")
        return bool(answer.get("workers"))
