"""`doctor` finds the step that fails, says what to do, and never shows the token."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme
from trio_websocket import ConnectionClosed, serve_websocket

from vsdk_trio.backend.token import mint_token
from vsdk_trio.cli._doctor_checks import in_words, read_claims
from vsdk_trio.registry.core import Registry
from vsdk_trio.registry.server import open_registry

from .conftest import run_cli

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("unmeasured")]

TOKEN = "s3cret-token-of-mine"
LONG_AGO = 1_700_000_000.0


async def examine(*args: str, env: dict[str, str]) -> tuple[dict[str, dict[str, Any]], bool]:
    """The steps by name, and whether all is well; the exit code must agree."""
    done = await run_cli("doctor", "--json", "--timeout", "3", *args, env=env)
    answer = json.loads(done.out)
    assert done.err == ""
    assert done.code == (0 if answer["ok"] else 1)
    for secret in env.values():
        if "s3cret" in secret:
            assert secret not in done.out
    steps = {step["step"]: step for step in answer["steps"]}
    failed = [step for step in answer["steps"] if step["verdict"] == "fail"]
    assert all(step["advice"] for step in failed)
    return steps, answer["ok"]


def verdicts(steps: dict[str, dict[str, Any]]) -> list[tuple[str, str]]:
    return [(name, step["verdict"]) for name, step in steps.items()]


def env_for(url: str, token: str = TOKEN) -> dict[str, str]:
    return {"VSDK_TRIO_SIGNALING_BASE_URL": url, "VIDEOSDK_AUTH_TOKEN": token}


@asynccontextmanager
async def serving(
    handler: Callable[[Any], Awaitable[None]], ssl_context: ssl.SSLContext | None = None
) -> AsyncGenerator[int]:
    """A server of one's own around the body; yields its port."""

    async def guarded(stream: trio.SocketStream) -> None:
        try:
            if ssl_context is None:
                await handler(stream)
            else:
                await handler(trio.SSLStream(stream, ssl_context, server_side=True))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the doctor has seen enough

    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, guarded, 0, host="127.0.0.1")
        listeners = await nursery.start(serve)
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def never_answer(stream: Any) -> None:
    while await stream.receive_some():
        pass


async def test_where_all_is_well() -> None:
    async with open_registry(Registry(auth_token=TOKEN)) as running:
        steps, is_well = await examine(env=env_for(running.url))
        assert is_well, steps
        assert list(steps) == [
            "token",
            "API connection",
            "init-config",
            "registry connection",
            "WebSocket",
            "registration",
            "API clock",
            "registry clock",
        ]
        assert running.registry.workers() == ()
        plain = await run_cli("doctor", env=env_for(running.url))
    assert plain.out.endswith("\nall is well: a worker can register from here\n")
    assert TOKEN not in plain.out
    assert "\x1b" not in plain.out


async def test_nothing_listens_there() -> None:
    steps, _ = await examine(env=env_for("http://127.0.0.1:1"))
    assert verdicts(steps)[1:] == [("API connection", "fail"), ("the rest", "skip")]
    assert "does it run there" in steps["API connection"]["advice"]


async def test_a_name_that_has_no_address() -> None:
    steps, _ = await examine(env=env_for("http://nothing.invalid"))
    assert verdicts(steps)[1:] == [("API DNS", "fail"), ("the rest", "skip")]


async def test_a_token_that_is_not_wanted() -> None:
    async with open_registry(Registry(auth_token="another")) as running:
        steps, _ = await examine(env=env_for(running.url))
        wanted = [("init-config", "fail"), ("the rest", "skip"), ("API clock", "ok")]
        assert verdicts(steps)[2:] == wanted
        assert "401" in steps["init-config"]["text"]
        assert "does not want this token" in steps["init-config"]["advice"]
        env = {**env_for(running.url), "VSDK_TRIO_BACKEND_URL": running.url}
        steps, _ = await examine(env=env)
        assert steps["WebSocket"]["verdict"] == "fail"
        assert "does not want this token" in steps["WebSocket"]["advice"]


async def test_no_token_at_all_and_the_rest_as_far_as_it_goes() -> None:
    async with open_registry(Registry()) as running:
        steps, _ = await examine(env={"VSDK_TRIO_SIGNALING_BASE_URL": running.url})
    found = [("token", "fail"), ("API connection", "ok"), ("the rest", "skip")]
    assert verdicts(steps) == found


async def test_a_token_that_has_expired() -> None:
    token = mint_token("key", "s3cret", now=LONG_AGO)
    async with open_registry(Registry(auth_token=token)) as running:
        steps, is_well = await examine(env=env_for(running.url, token))
    assert not is_well
    assert "expired" in steps["token"]["text"]
    assert "2023-11-15" in steps["token"]["text"]
    assert "permissions allow_join" in steps["token"]["text"]
    assert steps["registration"]["verdict"] == "ok"  # this registry does not mind


async def test_a_certificate_of_an_authority_that_nobody_knows(tmp_path: Path) -> None:
    ca = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("localhost").configure_cert(context)
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with serving(never_answer, context) as port:
        env = env_for(f"https://localhost:{port}")
        steps, _ = await examine(env=env)
        assert steps["API TLS"]["verdict"] == "fail"
        assert "not accepted" in steps["API TLS"]["text"]
        assert "--ca-file" in steps["API TLS"]["advice"]
        steps, _ = await examine("--ca-file", str(tmp_path / "ca.pem"), env=env)
        assert steps["API TLS"]["verdict"] == "ok"
        assert "certificate of" in steps["API TLS"]["text"]
        assert "expires in" in steps["API TLS"]["text"]
        assert steps["init-config"]["verdict"] == "fail"  # it never answers
        done = await run_cli("doctor", "--ca-file", "/nowhere.pem", env=env)
        assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
        assert "option 'ca_file': cannot use '/nowhere.pem'" in done.err


@pytest.mark.slow
async def test_a_server_that_never_answers() -> None:
    async with serving(never_answer) as port:
        steps, _ = await examine("--timeout", "1", env=env_for(f"http://127.0.0.1:{port}"))
        assert steps["init-config"]["text"] == "nothing within 1 s"
        assert "is it the right port" in steps["init-config"]["advice"]
        env = env_for(f"https://127.0.0.1:{port}")
        steps, _ = await examine("--timeout", "1", env=env)
        assert steps["API TLS"]["text"] == "nothing within 1 s"
        env["VSDK_TRIO_BACKEND_URL"] = f"ws://127.0.0.1:{port}"
        steps, _ = await examine("--timeout", "1", env=env)
        assert steps["WebSocket"]["verdict"] == "fail"


async def test_a_proxy_that_refuses() -> None:
    async def refuse(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")

    async with serving(refuse) as port:
        env = env_for("https://api.videosdk.live")
        env["HTTPS_PROXY"] = f"http://user:s3cret@127.0.0.1:{port}"
        steps, _ = await examine(env=env)
    assert steps["API proxy"]["text"] == f"http://127.0.0.1:{port}"
    assert steps["API connection"]["verdict"] == "fail"
    assert "it answered 407" in steps["API connection"]["text"]
    assert "does the proxy let this machine through" in steps["API connection"]["advice"]
    assert "s3cret" not in str(steps)


async def test_a_registry_that_refuses_the_registration() -> None:
    async def refuse(request: Any) -> None:
        ws = await request.accept()
        answer = {"type": "register", "success": False, "message": f"no room for {TOKEN}"}
        with suppress(ConnectionClosed):  # the first one looks at the WebSocket only
            await ws.get_message()
            await ws.send_message(json.dumps(answer))

    async with trio.open_nursery() as nursery:
        serve = partial(serve_websocket, refuse, "127.0.0.1", 0, None)
        server = await nursery.start(serve)
        env = {**env_for("unused"), "VSDK_TRIO_BACKEND_URL": f"ws://127.0.0.1:{server.port}"}
        steps, _ = await examine(env=env)
        nursery.cancel_scope.cancel()
    assert steps["WebSocket"]["verdict"] == "ok"
    assert steps["registration"]["verdict"] == "fail"
    assert "the registry refuses: no room for" in steps["registration"]["text"]


async def test_an_agents_own_options(tmp_path: Path) -> None:
    async with open_registry(Registry(auth_token=TOKEN)) as running:
        source = f"""
from vsdk_trio import Options, WorkerJob
async def act(ctx): ...
options = Options(auth_token={TOKEN!r}, signaling_base_url={running.url!r}, register=True)
WorkerJob(act, options=options).start()
"""
        (tmp_path / "agent.py").write_text(source)
        steps, is_well = await examine(str(tmp_path / "agent.py"), env={})
    assert is_well
    assert steps["token"]["text"].startswith("from Options(auth_token=)")


async def test_an_agent_that_cannot_be_loaded() -> None:
    done = await run_cli("doctor", "nowhere.py")
    assert (done.code, done.out, done.err) == (2, "", "vsdk-trio: there is no file nowhere.py\n")


def test_what_is_no_jwt_has_no_claims() -> None:
    for token in ("opaque", "a.b.c", "a.W10.c", "..", "a.bnVsbA.c", "a.\x00.c"):
        assert read_claims(token) is None


def test_durations_in_words() -> None:
    words = [in_words(seconds) for seconds in (5, 119, 120, 7200, 86400, 200_000)]
    assert words == ["5 s", "119 s", "2 minutes", "2 hours", "24 hours", "2 days"]
