"""The program as a user runs it: real processes against a real registry."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
from trio_websocket import open_websocket_url

pytestmark = pytest.mark.real

PROGRAM = [sys.executable, "-m", "vsdk_trio"]


async def run(*args: str, env: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("VSDK_TRIO_")}
    done = await trio.run_process(
        [*PROGRAM, *args],
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        env=clean | dict(env or {}),
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@asynccontextmanager
async def open_program(
    stop: signal.Signals = signal.SIGTERM, env: Mapping[str, str] | None = None
) -> AsyncIterator[str]:
    """Run `vsdk-trio registry`, yield its URL, stop it by a signal, and expect a clean end."""
    async with trio.open_nursery() as nursery:
        start = partial(
            trio.run_process,
            [*PROGRAM, "registry", "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            check=False,
            env=os.environ | dict(env or {}),
        )
        process: trio.Process = await nursery.start(start)
        assert process.stdout is not None
        assert process.stderr is not None
        line = b""
        async with process.stdout, process.stderr:
            while not line.endswith(b"\n"):
                line += await process.stdout.receive_some()
            yield line.decode().split()[-1]
            process.send_signal(stop)
            assert await process.wait() == 0
            assert await process.stdout.receive_some() == b""  # that one line was all


async def test_help_and_version_are_quick_and_light() -> None:
    code, out, _ = await run("--help")
    assert code == 0
    for command in ("registry", "dispatch", "jobs", "terminate", "version"):
        assert command in out
    assert (await run("--version"))[1] == (await run("version"))[1]
    probe = "import sys, vsdk_trio.cli.app; print([m for m in sys.modules if m in HEAVY])"
    heavy = "HEAVY = {'trio', 'httpcore', 'starlette', 'hypercorn', 'cattrs', 'orjson'}\n"
    done = await trio.run_process([sys.executable, "-c", heavy + probe], capture_stdout=True)
    assert done.stdout.strip() == b"[]"


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_dispatch_list_and_terminate(stop: signal.Signals) -> None:
    async with open_program(stop) as url:
        code, out, err = await run("dispatch", "a", "--registry", url)
        assert (code, out) == (1, "")
        assert err == (
            f"vsdk-trio: Agent Not Deployed: no worker of 'a' has been seen at {url}; "
            "`vsdk-trio workers` lists those that have\n"
        )
        async with (
            open_websocket_url(url.replace("http", "ws") + "/agent") as ws,
            trio.open_nursery() as nursery,
        ):
            await ws.send_message('{"type": "register", "agent_name": "a", "version": "1"}')
            await ws.get_message()
            metadata: list[object] = []

            async def accept() -> None:
                offer = json.loads(await ws.get_message())
                answer = {"type": "availability_response", "available": True}
                await ws.send_message(json.dumps(answer | {"job_id": offer["job_id"]}))
                metadata.append(json.loads(await ws.get_message())["metadata"])

            nursery.start_soon(accept)
            env = {"VSDK_TRIO_REGISTRY_URL": url}
            args = ("--room", "r-1", "--metadata", '{"k": 1}', "--json")
            code, out, err = await run("dispatch", "a", *args, env=env)
            assert (code, err) == (0, "")
            job_id = json.loads(out)["data"]["jobId"]
            assert metadata == [{"k": 1}]
            code, out, err = await run("jobs", "--registry", url)
            assert (code, err) == (0, "")
            assert job_id in out
            assert "assigned" in out
            code, out, err = await run("terminate", job_id, "--reason", "x", "--registry", url)
            assert (code, out) == (0, f"{job_id} terminating\n")
            assert json.loads(await ws.get_message())["reason"] == "x"
            code, out, _ = await run("terminate", job_id, "--json", "--registry", url)
            assert json.loads(out)["job"]["terminating"]
            code, out, _ = await run("jobs", "--json", "--registry", url)
            assert json.loads(out)["jobs"][0]["status"] == "assigned"
        code, _, err = await run("dispatch", "a", "--registry", url)
        assert (code, err.partition(":")[2]) == (
            1,
            f" No Workers Registered: no worker of 'a' is connected to {url} now; "
            "its own log says why, or `vsdk-trio doctor` does\n",
        )
        for odd, shown in [("nope", "nope"), ("../x", "../x"), ("", ""), ("\udcff", "\ufffd")]:
            code, _, err = await run("terminate", odd, "--registry", url)
            assert (code, err) == (1, f"vsdk-trio: no job '{shown}'\n")


async def test_a_plain_dispatch_prints_one_line() -> None:
    async with (
        open_program() as url,
        open_websocket_url(url.replace("http", "ws") + "/agent") as ws,
        trio.open_nursery() as nursery,
    ):
        await ws.send_message('{"type": "register", "agent_name": "a"}')
        await ws.get_message()

        async def accept() -> None:
            offer = json.loads(await ws.get_message())
            answer = {"type": "availability_response", "available": True}
            await ws.send_message(json.dumps(answer | {"job_id": offer["job_id"]}))

        nursery.start_soon(accept)
        code, out, _ = await run("dispatch", "a", "--room", "r-1", "--registry", url)
        assert (code, out.split()[1:]) == (0, ["assigned", "in", "room", "r-1"])


async def test_the_token_comes_from_the_environment_alone() -> None:
    env = {"VSDK_TRIO_REGISTRY_TOKEN": "s3cret"}
    async with open_program(env=env) as url:
        code, _, err = await run("jobs", "--registry", url)
        assert code == 4
        assert "refuses the token" in err
        assert (await run("jobs", "--registry", url, env=env))[0] == 0


async def test_a_taken_port_is_one_clear_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, out, err = await run("registry", "--port", str(port))
    assert (code, out) == (1, "")
    said = f"port {port} on 127.0.0.1 is in use; choose another one, or 0 for any free one"
    assert err == f"vsdk-trio: {said}\n"


@pytest.mark.parametrize(
    ("url", "expected", "message"),
    [
        ("http://127.0.0.1:1", 4, "no registry answers at http://127.0.0.1:1"),
        ("ftp://127.0.0.1", 2, "--registry must be the URL of a registry"),
        ("foo", 2, "--registry must be the URL of a registry"),
        ("127.0.0.1:1", 2, "such as http://127.0.0.1:8080"),
        ("http://127.0.0.1:one", 2, "is not the URL of a registry"),
    ],
)
async def test_a_registry_that_is_away_is_one_clear_line(
    url: str, expected: int, message: str
) -> None:
    code, out, err = await run("jobs", "--registry", url)
    assert (code, out) == (expected, "")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"junk\r\n\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "is not a registry"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "it knows no jobs"),
        (b'HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{"jobs":[1]}', "it knows no jobs"),
        (b"HTTP/1.1 500 X\r\nContent-Length: 2\r\n\r\n{}", "the registry answered 500"),
    ],
)
async def test_something_else_on_the_port(answer: bytes, message: str) -> None:
    async def impostor(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(answer)
        await stream.send_eof()

    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, impostor, 0, host="127.0.0.1")
        listeners = await nursery.start(serve)
        port = listeners[0].socket.getsockname()[1]
        code, _, err = await run("jobs", "--registry", f"http://127.0.0.1:{port}")
        nursery.cancel_scope.cancel()
    assert code == 1
    assert message in err


@pytest.mark.parametrize("metadata", ["{", "[]", '{"a": NaN}'])
async def test_bad_metadata_is_a_usage_error(metadata: str) -> None:
    code, _, err = await run("dispatch", "a", "--metadata", metadata)
    assert code == 2
    assert "--metadata" in err
