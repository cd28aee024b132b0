"""Where the registry is, whom to trust and which proxy to use: alike for all commands."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme

from vsdk_trio.registry.core import Registry
from vsdk_trio.registry.ledger import DispatchRequest, LedgerState
from vsdk_trio.registry.server import open_registry

from .conftest import PROGRAM, clean_environment, open_cli, run_cli

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("unmeasured")]

AWAY = "http://127.0.0.1:1"
VARIABLES = ("VSDK_TRIO_REGISTRY_URL", "VSDK_TRIO_SIGNALING_BASE_URL", "VSDK_TRIO_BACKEND_URL")
TOKEN = {"VIDEOSDK_AUTH_TOKEN": "local"}
AGENT = "async def entrypoint(ctx): ...\n"
ASKING = (("jobs",), ("workers",), ("top", "--once"), ("dispatch", "A"), ("terminate", "x"))


async def copy(source: trio.abc.Stream, sink: trio.abc.Stream) -> None:
    try:
        async for data in source:
            await sink.send_all(data)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    await trio.aclose_forcefully(sink)


@asynccontextmanager
async def behind_tls(url: str, directory: Path, *, name: str = "127.0.0.1") -> AsyncGenerator[str]:
    """A TLS proxy before `url`, of an authority that is in `directory / "ca.pem"`; yields its URL.

    It says nothing of itself to the registry.
    """
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    port = int(url.rpartition(":")[2])

    async def pass_on(stream: trio.SSLStream[trio.SocketStream]) -> None:
        try:
            await stream.do_handshake()
        except trio.BrokenResourceError:
            return
        registry = await trio.open_tcp_stream("127.0.0.1", port)
        async with registry, trio.open_nursery() as nursery:
            nursery.start_soon(copy, stream, registry)
            await copy(registry, stream)
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_ssl_over_tcp, pass_on, 0, context, host="127.0.0.1")
        listeners: Any = await nursery.start(serve)
        tls_port = listeners[0].transport_listener.socket.getsockname()[1]
        yield f"https://127.0.0.1:{tls_port}"
        nursery.cancel_scope.cancel()


async def workers_at(*args: str, env: dict[str, str]) -> int:
    """The exit code of `workers`."""
    return (await run_cli("workers", "--json", *args, env=env)).code


async def test_every_variable_leads_commands_to_the_registry() -> None:
    async with open_registry() as running:
        for variable in VARIABLES:
            assert await workers_at(env={variable: running.url}) == 0
        backend = running.url.replace("http", "ws")
        assert await workers_at(env={"VSDK_TRIO_REGISTRY_URL": backend}) == 0


async def test_the_stronger_source_wins() -> None:
    async with open_registry() as running:
        there = running.url
        order = {
            "VSDK_TRIO_REGISTRY_URL": there,
            "VSDK_TRIO_SIGNALING_BASE_URL": AWAY,
            "VSDK_TRIO_BACKEND_URL": AWAY,
        }
        assert await workers_at(env=order) == 0
        assert await workers_at("--registry", AWAY, env=order) == 4
        assert await workers_at("--registry", there, env={"VSDK_TRIO_REGISTRY_URL": AWAY}) == 0
        assert await workers_at("--registry", "", env=order) == 0
        done = await run_cli("top", there, "--registry", AWAY, "--once", env={})
        assert done.code == 0, done.err
        done = await run_cli("top", "--registry", there, "--once", env={})
        assert done.code == 0, done.err


@pytest.mark.parametrize(
    "env", [{"VSDK_TRIO_REGISTRY_URL": "{url}"}, {"VSDK_TRIO_BACKEND_URL": "{url}"}, {}]
)
@pytest.mark.parametrize("command", ["run", "dev"])
async def test_agents_are_led_by_the_same(
    command: str, env: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "agent.py").write_text(AGENT)
    async with open_registry() as running:
        environ = {name: value.format(url=running.url) for name, value in env.items()}
        flags = () if environ else ("--registry", running.url)
        args = (command, "agent.py", "--agent-id", "A", "--host", "127.0.0.1", "--port", "0")
        async with open_cli(*args, *flags, env={**TOKEN, **environ}, cwd=tmp_path) as worker:
            await worker.read_until("registered with the registry")
            assert [w.agent_id for w in running.registry.workers()] == ["A"]


async def test_a_flag_wins_over_the_agents_own_options_and_the_variables(tmp_path: Path) -> None:
    options = f"Options(register=True, agent_id='A', backend_url={AWAY!r})"
    (tmp_path / "agent.py").write_text(
        f"from vsdk_trio import Options, WorkerJob\n{AGENT}"
        f"WorkerJob(entrypoint, options={options}).start()\n"
    )
    environ = {**TOKEN, "VSDK_TRIO_BACKEND_URL": AWAY, "VSDK_TRIO_REGISTRY_URL": AWAY}
    async with open_registry() as running:
        args = ("run", "agent.py", "--registry", running.url, "--host", "127.0.0.1", "--port", "0")
        async with open_cli(*args, env=environ, cwd=tmp_path) as worker:
            await worker.read_until("registered with the registry")
        done = await run_cli(
            "doctor", "agent.py", "--registry", running.url, env=environ, cwd=tmp_path
        )
        assert done.code == 0, done.out


@pytest.mark.parametrize("args", [*ASKING, ("run", "agent.py"), ("dev", "agent.py")])
async def test_a_wrong_address_is_one_line_and_exit_code_2(
    args: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "agent.py").write_text(AGENT)
    for flags, environ in ((("--registry", "nowhere"), {}), ((), {VARIABLES[0]: "nowhere"})):
        done = await run_cli(*args, *flags, env=environ, cwd=tmp_path)
        assert (done.code, done.err.count("\n")) == (2, 1), done.err
        assert "must be the URL of a registry" in done.err
        assert "Traceback" not in done.err


@pytest.mark.parametrize(
    "args", [("run", "a.py"), ("dev", "a.py"), ("connect", "a.py"), ("doctor",)]
)
@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("VSDK_TRIO_MAX_PROCESSES", "four"),
        ("VSDK_TRIO_MAX_PROCESES", "4"),
        ("VSDK_TRIO_LOG_LEVEL", "LOUD"),
        ("VSDK_TRIO_REGISTRY_URL", "nowhere"),
    ],
)
async def test_a_wrong_variable_is_one_line_and_exit_code_2(
    args: tuple[str, ...], variable: str, text: str, tmp_path: Path
) -> None:
    (tmp_path / "a.py").write_text(AGENT)
    done = await run_cli(*args, env={variable: text}, cwd=tmp_path)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done.err


async def test_an_agents_own_wrong_option_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(f"from vsdk_trio import Options\n{AGENT}Options(port='many')\n")
    for command in ("run", "connect", "doctor"):
        done = await run_cli(command, "a.py", cwd=tmp_path)
        assert (done.code, done.err.count("\n")) == (2, 1), done.err
        assert "a.py: option 'port' must be" in done.err


async def test_commands_trust_whom_they_are_told_to_trust(tmp_path: Path) -> None:
    ca = str(tmp_path / "ca.pem")
    async with open_registry() as running, behind_tls(running.url, tmp_path) as url:
        done = await run_cli("jobs", "--registry", url)
        assert done.code == 4
        assert "its certificate is not accepted: unable to get local issuer certificate" in done.err
        assert "--ca-file or VSDK_TRIO_CA_FILE" in done.err
        assert "no registry answers" not in done.err
        assert done.err.count("\n") == 1
        for args in ASKING:
            done = await run_cli(*args, "--registry", url, "--ca-file", ca)
            assert "certificate" not in done.err, args
            assert done.code == (0 if args[0] in ("jobs", "workers", "top") else 1), done.err
        assert await workers_at("--registry", url, env={"VSDK_TRIO_CA_FILE": ca}) == 0
        assert await workers_at("--registry", url, env={"SSL_CERT_FILE": ca}) == 0
        done = await run_cli("drain", url)
        assert "its certificate is not accepted" in done.err


async def test_a_name_that_the_certificate_lacks_is_said(tmp_path: Path) -> None:
    async with (
        open_registry() as running,
        behind_tls(running.url, tmp_path, name="other.test") as url,
    ):
        done = await run_cli("jobs", "--registry", url, "--ca-file", str(tmp_path / "ca.pem"))
    assert done.code == 4
    assert "not valid for '127.0.0.1'" in done.err
    assert "by a name that its certificate has" in done.err or "by an address" in done.err


async def test_an_empty_directory_of_certificates_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.py").write_text(AGENT)
    environ = {"SSL_CERT_DIR": str(tmp_path / "empty"), "SSL_CERT_FILE": str(tmp_path / "none")}
    async with open_registry() as running, behind_tls(running.url, tmp_path) as url:
        address = {"VSDK_TRIO_REGISTRY_URL": url, **TOKEN}
        for args in (("jobs",), ("doctor",), ("run", "a.py", "--host", "::1", "--port", "0")):
            done = await run_cli(*args, env={**environ, **address}, cwd=tmp_path)
            assert done.code == 2, (args, done)
            assert f"SSL_CERT_DIR={tmp_path / 'empty'}: no certificate is there" in done.err
            assert "Traceback" not in done.err


@pytest.mark.parametrize("ca_file", ["/nowhere.pem", "{empty}"])
async def test_a_file_of_certificates_that_is_none(ca_file: str, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    path = ca_file.format(empty=tmp_path / "empty")
    done = await run_cli("jobs", "--registry", "https://127.0.0.1:1", "--ca-file", path)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert f"option 'ca_file': cannot use '{path}'" in done.err


async def test_commands_go_through_the_proxy(tmp_path: Path) -> None:
    """As workers do, by the same variables; what is on this machine is asked without."""
    for variable in ("VSDK_TRIO_HTTP_PROXY", "HTTP_PROXY"):
        done = await run_cli(
            "jobs",
            "--registry",
            "http://registry.test",
            env={variable: "http://127.0.0.1:1"},
        )
        assert done.code == 4
        assert "127.0.0.1:1" in done.err, done.err
    async with open_registry(Registry()) as running:
        assert await workers_at("--registry", running.url, env={"HTTP_PROXY": AWAY}) == 0


@asynccontextmanager
async def open_proxy(port: int) -> AsyncGenerator[tuple[str, list[bytes]]]:
    """A proxy that leads everybody to `port`; yields its URL, and what it is asked for."""
    asked: list[bytes] = []

    async def tunnel(stream: trio.SocketStream) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += await stream.receive_some()
        asked.append(head.split()[1])
        await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n")
        target = await trio.open_tcp_stream("127.0.0.1", port)
        async with target, trio.open_nursery() as nursery:
            nursery.start_soon(copy, stream, target)
            await copy(target, stream)
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, tunnel, 0, host="127.0.0.1"))
        yield f"http://127.0.0.1:{listener.socket.getsockname()[1]}", asked
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("variable", ["VSDK_TRIO_HTTP_PROXY", "HTTPS_PROXY", "all_proxy"])
async def test_a_registry_with_a_private_authority_behind_a_proxy(
    variable: str, tmp_path: Path
) -> None:
    """The three together: the tunnel, the name in the certificate, and whom to trust."""
    ca = str(tmp_path / "ca.pem")
    registry = Registry(auth_token="word-of-mine")
    async with (
        open_registry(registry) as running,
        behind_tls(running.url, tmp_path, name="registry.test") as url,
        open_proxy(int(url.rpartition(":")[2])) as (proxy, asked),
    ):
        environ = {variable: proxy, "VSDK_TRIO_REGISTRY_URL": "https://registry.test"}
        environ["VSDK_TRIO_REGISTRY_TOKEN"] = "word-of-mine"
        done = await run_cli("jobs", "--ca-file", ca, env=environ)
        assert done.code == 0, done.err
        assert asked == [b"registry.test:443"]
        if not variable.startswith("VSDK"):
            done = await run_cli("jobs", "--ca-file", ca, env={**environ, "NO_PROXY": ".test"})
            assert done.code == 4  # there is no such host
            assert len(asked) == 1
        done = await run_cli("jobs", env=environ)
        assert "its certificate is not accepted" in done.err


async def test_json_is_not_mixed_with_words() -> None:
    async with open_registry() as running:
        done = await run_cli("workers", "--json", env={"VSDK_TRIO_REGISTRY_URL": running.url})
    assert json.loads(done.out) == {"workers": []}


@pytest.mark.parametrize("options", ["", "host='0.0.0.0'"])
async def test_dev_listens_on_this_machine_only(options: str, tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(
        f"from vsdk_trio import Options, WorkerJob\n{AGENT}"
        f"WorkerJob(entrypoint, options=Options({options})).start()\n"
    )
    args = ("dev", "agent.py", "--port", "0", "--registry-port", "0")
    async with open_cli(*args, cwd=tmp_path) as dev:
        await dev.read_until("(listens on 127.0.0.1; ")
        await dev.read_until("serving ")


async def test_a_registry_behind_tls_hands_out_the_address_of_its_caller(tmp_path: Path) -> None:
    """From outside: doctor takes the whole way through a proxy that says nothing of itself."""
    ca = str(tmp_path / "ca.pem")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with behind_tls(f"http://127.0.0.1:{port}", tmp_path) as url:
        args = ("registry", "--port", str(port), "--public-url", url)
        async with open_cli(*args) as registry:
            await registry.read_until("registry ready")
            done = await run_cli("doctor", "--registry", url, "--ca-file", ca, env=TOKEN)
            assert done.code == 0, done.out
            assert f"the registry is {url.replace('https', 'wss')}" in done.out


@pytest.mark.parametrize("url", ["reg.example.com", "ftp://reg.example.com"])
async def test_a_wrong_public_url_is_one_line(url: str) -> None:
    done = await run_cli("registry", "--port", "0", "--public-url", url)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "public_url must be the URL of a registry" in done.err


NO_USER = """
import pwd
def missing(uid):
    raise KeyError(uid)
pwd.getpwuid = missing
"""


@pytest.mark.parametrize("home", [None, "", " "])
async def test_rooms_without_a_home(home: str | None, tmp_path: Path) -> None:
    """As for a number without a name in a container: what to do is said, in one line."""
    (tmp_path / "sitecustomize.py").write_text(NO_USER)
    environ = clean_environment({"PYTHONPATH": str(tmp_path), "XDG_CACHE_HOME": ""})
    environ |= {"HOME": home} if home is not None else {}
    if home is None:
        environ.pop("HOME", None)
    done = await trio.run_process(
        [*PROGRAM, "registry", "--rooms", "--port", "0"],
        capture_stderr=True,
        check=False,
        env=environ,
    )
    said = done.stderr.decode()
    assert (done.returncode, said.count("\n")) == (2, 1), said
    assert "there is no HOME" in said
    assert "--rooms-ca FILE names another place" in said


ROOM = """
from vsdk_trio import Options, WorkerJob
async def entrypoint(ctx):
    await ctx.get_room_id()
    await ctx.connect()
WorkerJob(entrypoint, options=Options(register=True, agent_id="A")).start()
"""


@pytest.mark.parametrize("is_own", [False, True])
async def test_no_job_sends_its_token_in_plain_text(is_own: bool, tmp_path: Path) -> None:
    """A registry over TLS that names http:// for rooms: its own host means https://."""
    (tmp_path / "agent.py").write_text(ROOM)
    ca, heard = str(tmp_path / "ca.pem"), list[bytes]()

    async def hear(stream: trio.SocketStream) -> None:
        heard.append(await stream.receive_some())

    registry = Registry(auth_token=TOKEN["VIDEOSDK_AUTH_TOKEN"])
    async with (
        open_registry(registry) as running,
        behind_tls(running.url, tmp_path) as url,
        trio.open_nursery() as nursery,
    ):
        serve = partial(trio.serve_tcp, hear, 0, host="127.0.0.1")
        (listener,) = await nursery.start(serve)
        port = listener.socket.getsockname()[1]
        rooms = url.replace("https", "http") if is_own else f"http://127.0.0.1:{port}"
        told = {"signaling_base_url": rooms, "transport_mode": "loopback"}
        environ = {**TOKEN, "REQUESTS_CA_BUNDLE": ca}
        args = ("run", "agent.py", "--registry", url, "--ca-file", ca, "--port", "0")
        async with open_cli(*args, "--host", "127.0.0.1", env=environ, cwd=tmp_path) as worker:
            await worker.read_until("registered with the registry")
            job = await registry.dispatch(
                DispatchRequest(agent_id="A", room_id="r", room_options=told)
            )
            job = await registry.wait_ended(job.job_id)
        nursery.cancel_scope.cancel()
    assert not heard
    if is_own:
        assert job.state is LedgerState.COMPLETED, job.error
    else:
        assert job.state is LedgerState.FAILED
        assert "a token is not sent in plain text; have it name https://" in (job.error or "")


@pytest.mark.parametrize("command", [("registry", "--port", "0"), *ASKING])
async def test_quotation_marks_around_a_token_are_named(command: tuple[str, ...]) -> None:
    env = {"VSDK_TRIO_REGISTRY_TOKEN": '"abc"', "VSDK_TRIO_REGISTRY_URL": AWAY}
    done = await run_cli(*command, env=env)
    assert done.code == 2
    assert done.err.startswith("vsdk-trio: VSDK_TRIO_REGISTRY_TOKEN has quotation marks around it")
    assert "abc" not in done.err
    assert done.err.count("\n") == 1
