"""A registry whose clock is another: what is made here is good there, and `doctor` names it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from email.utils import formatdate
from functools import partial
from pathlib import Path

import pytest
import trio

from vsdk_trio.backend.token import mint_token
from vsdk_trio.cli._doctor_checks import read_claims
from vsdk_trio.registry.server import open_registry

from .conftest import open_cli, run_cli

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("unmeasured")]

SECRET = "s3cret-s3cret-s3cret-s3cret-s3cret"
KEYS = {"VIDEOSDK_API_KEY": "key", "VIDEOSDK_SECRET_KEY": SECRET}
AGENT = "async def entrypoint(ctx): ...\n"
HOUR = 3600


@asynccontextmanager
async def open_api(ahead: float) -> AsyncGenerator[str]:
    """A REST API that judges tokens by a clock of its own; yields its URL."""

    def answer(head: bytes, registry_url: str) -> bytes:
        now = time.time() + ahead
        (token,) = (
            line.partition(":")[2].strip()
            for line in head.decode().split("\r\n")
            if line.lower().startswith("authorization:")
        )
        claims = read_claims(token) or {}
        if claims["iat"] <= now < claims["exp"]:
            status, body = "200 OK", {"success": True, "data": {"registryUrl": registry_url}}
        else:
            status, body = "401 No", {"message": "Token is expired or invalid"}
        content = json.dumps(body).encode()
        date = formatdate(now, usegmt=True)
        fields = f"Date: {date}\r\nContent-Length: {len(content)}\r\nConnection: close"
        return f"HTTP/1.1 {status}\r\n{fields}\r\n\r\n".encode() + content

    async def serve(registry_url: str, stream: trio.SocketStream) -> None:
        try:
            head = b""
            async for chunk in stream:
                head += chunk
                if b"\r\n\r\n" in head:
                    await stream.send_all(answer(head, registry_url))
                    break
        except trio.BrokenResourceError:
            pass  # the caller has looked at the connection only

    async with open_registry() as running, trio.open_nursery() as nursery:
        listen = partial(
            trio.serve_tcp, partial(serve, running.url.replace("http", "ws")), 0, host="127.0.0.1"
        )
        (listener,) = await nursery.start(listen)
        yield f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("ahead", [-3, -45, -HOUR, HOUR])
async def test_a_worker_that_makes_its_tokens_allows_for_it(ahead: int, tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(AGENT)
    async with open_api(ahead) as url:
        args = ("run", "agent.py", "--registry", url, "--host", "127.0.0.1", "--port", "0")
        async with open_cli(*args, env=KEYS, cwd=tmp_path) as worker:
            await worker.read_until("registered with the registry")
        done = await run_cli("doctor", "--registry", url, env=KEYS)
        assert done.code == 0, done.out
        (said,) = (line for line in done.out.splitlines() if "API clock" in line)
        assert said.startswith("warn ")
        assert f"s {'ahead of' if ahead > 0 else 'behind'} this machine's" in said
        assert "set the clock of this machine (NTP)" in done.out


async def test_a_given_token_is_not_blamed_on_the_project(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(AGENT)
    token = {"VIDEOSDK_AUTH_TOKEN": mint_token("key", SECRET, now=time.time())}
    async with open_api(-HOUR) as url:
        done = await run_cli("doctor", "--registry", url, env=token)
        assert done.code == 1
        (advice,) = (line for line in done.out.splitlines() if "is the token valid by that" in line)
        assert "s behind this machine's" in advice
        assert "of the right project" not in done.out
        args = ("run", "agent.py", "--registry", url, "--host", "127.0.0.1", "--port", "0")
        done = await run_cli(*args, env=token, cwd=tmp_path)
        assert done.code == 4, done.err
        assert "s behind this machine's: is it right?)" in done.err.splitlines()[-1]


async def test_clocks_that_agree() -> None:
    async with open_api(0) as url:
        done = await run_cli("doctor", "--registry", url, env=KEYS)
    assert done.code == 0
    assert re.search("ok +API clock +as this machine's", done.out)
