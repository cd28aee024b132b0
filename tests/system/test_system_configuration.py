"""Configuration from outside: variables as Kubernetes, compose and people set them."""

from __future__ import annotations

import re
import signal
from functools import partial
from pathlib import Path

import pytest
import trio

from vsdk_trio.options.environment import text_options
from vsdk_trio.options.worker import Options
from vsdk_trio.registry.ledger import DispatchRequest, LedgerState
from vsdk_trio.registry.server import open_registry

from ..test_configuration import links_of
from .conftest import Program, System, eventually, open_system

pytestmark = pytest.mark.real

README = (Path(__file__).parents[2] / "README.md").read_text()
SERVED = """
from vsdk_trio import JobContext, Options, RoomOptions, WorkerJob

async def entrypoint(ctx):
    print("TOKEN", ctx.videosdk_auth, flush=True)

if __name__ == "__main__":
    WorkerJob(
        entrypoint,
        jobctx=JobContext(room_options=RoomOptions(transport_mode="loopback")),
        options={options},
    ).start()
"""
FROM_ENV = "Options.from_env(agent_id='agent', register=True)"
DIRECT = "Options.from_env(agent_id='agent')"
LOCAL = {"VSDK_TRIO_HOST": "127.0.0.1", "VSDK_TRIO_PORT": "0", "VIDEOSDK_AUTH_TOKEN": "local"}
KEYS = {"VIDEOSDK_API_KEY": "key", "VIDEOSDK_SECRET_KEY": "s3cret" * 6}


async def start(system: System, options: str, **env: str) -> Program:
    path = system.directory / "served.py"
    path.write_text(SERVED.format(options=options))
    return await system.start(str(path), env=env)


async def registered(system: System, program: Program) -> None:
    def is_settled() -> bool:
        return bool(system.registry.workers()) or program.process.poll() is not None

    await eventually(is_settled, "no worker")
    assert system.registry.workers(), program.output


async def run_one(system: System, agent_id: str) -> None:
    request = DispatchRequest(agent_id=agent_id, room_id="room")
    with trio.fail_after(40):
        job = await system.registry.dispatch(request)
        job = await system.registry.wait_ended(job.job_id)
    assert job.state is LedgerState.COMPLETED, job.error


async def ended(program: Program) -> None:
    program.signal(signal.SIGINT)
    assert await program.exit_code() == 0, program.output


async def test_readmes_own_agent_with_readmes_own_variables(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    agent = next(block for block in blocks if "job.start()" in block)
    exports = re.search(r"^export (VSDK_TRIO_REGISTRY_URL=.*)$", README, re.MULTILINE)
    assert exports is not None
    environ = dict(pair.split("=", 1) for pair in exports[1].split())
    async with open_system(tmp_path) as system:
        environ["VSDK_TRIO_REGISTRY_URL"] = environ["VSDK_TRIO_REGISTRY_URL"].replace(
            "http://127.0.0.1:8080", system.url
        )
        (tmp_path / "readme.py").write_text(agent)
        program = await system.start(
            str(tmp_path / "readme.py"), env={**environ, "VSDK_TRIO_PORT": "0"}
        )
        await registered(system, program)
        job = await system.registry.dispatch(DispatchRequest(agent_id="MyAgent", room_id="room"))
        await eventually(
            lambda: system.registry.job(job.job_id).state is LedgerState.RUNNING, "no running job"
        )
        await ended(program)


@pytest.mark.parametrize(
    "variable", ["VSDK_TRIO_REGISTRY_URL", "VSDK_TRIO_SIGNALING_BASE_URL", "VSDK_TRIO_BACKEND_URL"]
)
async def test_each_variable_says_where_the_registry_is(tmp_path: Path, variable: str) -> None:
    async with open_system(tmp_path) as system:
        program = await start(system, FROM_ENV, **LOCAL, **{variable: system.url})
        await registered(system, program)
        assert "as the options say" not in program.output
        await ended(program)


async def test_the_registry_itself_may_be_named(tmp_path: Path) -> None:
    async with open_system(tmp_path) as system:
        url = system.url.replace("http://", "ws://")
        program = await start(system, FROM_ENV, **LOCAL, VSDK_TRIO_REGISTRY_URL=url)
        await registered(system, program)
        await ended(program)


async def test_a_variable_that_the_options_do_not_read_is_said(tmp_path: Path) -> None:
    async with open_system(tmp_path) as system:
        options = f"Options(agent_id='agent', register=True, port=0, backend_url={system.url!r})"
        environ = {**LOCAL, "VSDK_TRIO_REGISTRY_URL": "http://127.0.0.1:1"}
        program = await start(system, options, **environ)
        await registered(system, program)
        said = (
            f"the registry is {system.url}, as the options say, and not http://127.0.0.1:1, as the "
            "environment does: write Options.from_env(...)"
        )
        assert program.output.count(said) == 1
        await ended(program)


async def test_every_variable_may_be_empty(tmp_path: Path) -> None:
    async with open_system(tmp_path) as system:
        empty = {option.variable: "" for option in text_options(Options).values()}
        empty |= dict.fromkeys(("VIDEOSDK_AUTH_TOKEN", "VSDK_TRIO_REGISTRY_TOKEN"), "")
        environ = {**empty, **KEYS, "VSDK_TRIO_REGISTRY_URL": f" {system.url}\n"}
        environ |= {"VSDK_TRIO_HOST": "127.0.0.1", "VSDK_TRIO_PORT": "0"}
        program = await start(system, FROM_ENV, **environ)
        await registered(system, program)
        await run_one(system, "agent")
        await ended(program)


@pytest.mark.parametrize("token", ["", "  "])
async def test_an_empty_token_leaves_signing_on(tmp_path: Path, token: str) -> None:
    async with open_system(tmp_path) as system:
        program = await start(system, DIRECT, **KEYS, VIDEOSDK_AUTH_TOKEN=token)
        assert await program.exit_code() == 0, program.output
        assert re.search(r"TOKEN \S+", program.output), program.output


@pytest.mark.parametrize("mode", [FROM_ENV, DIRECT])
async def test_links_of_services_are_ignored_and_said_once(tmp_path: Path, mode: str) -> None:
    links = {**links_of("VSDK_TRIO"), **links_of("VSDK_TRIO_REGISTRY", 8080)}
    async with open_system(tmp_path) as system:
        environ = {**LOCAL, **links, "VSDK_TRIO_REGISTRY_URL": system.url}
        environ["VSDK_TRIO_PORT"] = links["VSDK_TRIO_PORT"]
        program = await start(system, mode.replace("register", "port=0, register"), **environ)
        if mode is FROM_ENV:
            await registered(system, program)
            await run_one(system, "agent")
            await ended(program)
        else:
            assert await program.exit_code() == 0, program.output
        lines = [line for line in program.output.splitlines() if "enableServiceLinks" in line]
        assert len(lines) == 1, program.output
        assert '"level":"WARNING"' in lines[0].replace(" ", "") or "WARNING" in lines[0]


@pytest.mark.parametrize(
    ("options", "environ", "said"),
    [
        (FROM_ENV, {"VSDK_TRIO_MAX_PROCESSES": "four"}, "VSDK_TRIO_MAX_PROCESSES must be a number"),
        (FROM_ENV, {"VSDK_TRIO_MAX_PROCESES": "4"}, "did you mean 'VSDK_TRIO_MAX_PROCESSES'"),
        (FROM_ENV, {"VSDK_TRIO_PORT": "70000"}, "'port' must be an integer from 0 to 65535"),
        (FROM_ENV, {"VSDK_TRIO_REGISTRY_URL": "nowhere"}, "VSDK_TRIO_REGISTRY_URL must be the URL"),
        (FROM_ENV, {"VSDK_TRIO_REGISTRY_URL": "http://x:y"}, "signaling_base_url: "),
        (FROM_ENV, {"VSDK_TRIO_CA_FILE": "/nowhere"}, "cannot use '/nowhere'"),
        (FROM_ENV, {"VSDK_TRIO_HTTP_PROXY": "ftp://proxy"}, "a proxy is one of"),
        (FROM_ENV, {"VIDEOSDK_AUTH_TOKEN": "a b"}, "VIDEOSDK_AUTH_TOKEN contains white space"),
        (FROM_ENV, {"VIDEOSDK_AUTH_TOKEN": ""}, "there is no VideoSDK token"),
        # As `docker run --env-file` passes them on.
        (FROM_ENV, {"VIDEOSDK_AUTH_TOKEN": '"abc"'}, "VIDEOSDK_AUTH_TOKEN has quotation marks"),
        (
            FROM_ENV,
            {**KEYS, "VIDEOSDK_AUTH_TOKEN": "", "VIDEOSDK_API_KEY": "'key'"},
            "VIDEOSDK_API_KEY has quotation marks",
        ),
        (FROM_ENV, {"VSDK_TRIO_AGENT_ID": '"A"'}, "VSDK_TRIO_AGENT_ID has quotation marks"),
        (FROM_ENV, {"VSDK_TRIO_REGISTRY_URL": "'http://x'"}, "has quotation marks around it"),
        (DIRECT, {"VIDEOSDK_AUTH_TOKEN": "a b"}, "VIDEOSDK_AUTH_TOKEN contains white space"),
        (DIRECT, {"VIDEOSDK_AUTH_TOKEN": "Bearer abc"}, "starts with 'Bearer '"),
        (DIRECT, {"VSDK_TRIO_AUTH_TOKEN": "a b"}, "auth_token contains white space"),
        (DIRECT, {"VSDK_TRIO_LOG_LEVEL": "LOUD"}, "must be one of 'DEBUG'"),
        ("Options(port='many')", {}, "got 'many' (served.py, line 11)"),
        ("Options(max_proceses=3)", {}, "did you mean 'max_processes'"),
    ],
)
async def test_a_wrong_value_is_one_line_and_exit_code_2(
    tmp_path: Path, options: str, environ: dict[str, str], said: str
) -> None:
    async with open_system(tmp_path) as system:
        program = await start(
            system, options, **{**LOCAL, "VSDK_TRIO_REGISTRY_URL": system.url, **environ}
        )
        assert await program.exit_code() == 2, program.output
        assert said in program.verdict


async def test_a_wrong_option_that_is_caught_is_an_exception_like_others(tmp_path: Path) -> None:
    async with open_system(tmp_path) as system:
        path = tmp_path / "caught.py"
        path.write_text(
            "from vsdk_trio import Options\n"
            "try:\n    Options(port='many')\n"
            "except ValueError as error:\n    print('caught', error)\n"
            "raise KeyError('another')\n"
        )
        program = await system.start(str(path))
        assert await program.exit_code() == 1
        assert "caught option 'port'" in program.output
        assert "KeyError: 'another'" in program.output
        assert "Traceback" in program.output


# -- where a worker shows itself -----------------------------------------------------------------


async def test_a_port_that_another_worker_has_names_it(tmp_path: Path) -> None:
    async with open_system(tmp_path) as system:
        first = await system.open_agent()
        (url,) = re.findall(r"dashboard at (\S+),", first.output)
        port = url.rpartition(":")[2]
        environ = {**LOCAL, "VSDK_TRIO_REGISTRY_URL": system.url, "VSDK_TRIO_PORT": port}
        second = await start(system, FROM_ENV, **environ)
        assert await second.exit_code() == 1
        assert f"port {port} on 127.0.0.1 is in use; choose another one" in second.verdict
        assert "a worker of agent 'agent' (" in second.verdict
        assert f"), pid {first.pid} is at {url}; " in second.verdict
        assert "--port 0" in second.verdict
        await ended(first)


@pytest.mark.parametrize("nonsense", [b"", b"HTTP/1.1 200 OK\r\n\r\n[1]", b"SSH-2.0-x\r\n"])
async def test_a_port_that_something_else_has_is_said_in_time(
    tmp_path: Path, nonsense: bytes
) -> None:
    async def other(stream: trio.SocketStream) -> None:
        await stream.send_all(nonsense or b"...")
        if not nonsense:
            await trio.sleep_forever()

    async with open_system(tmp_path) as system, trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, other, 0, host="127.0.0.1"))
        port = str(listeners[0].socket.getsockname()[1])
        environ = {**LOCAL, "VSDK_TRIO_REGISTRY_URL": system.url, "VSDK_TRIO_PORT": port}
        program = await start(system, FROM_ENV, **environ)
        assert await program.exit_code() == 1
        assert f"port {port} on 127.0.0.1 is in use" in program.verdict
        assert "a worker of agent" not in program.verdict
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("host", "token", "said"),
    [
        (
            "0.0.0.0",
            "",
            "(listens on 0.0.0.0; probes and counts are open, jobs are shown to this "
            "machine only (to others with a debug_token))",
        ),
        (
            "127.0.0.1",
            "s3cret-word",
            "(listens on 127.0.0.1; probes and counts are open, jobs are "
            "shown to this machine and to holders of debug_token)",
        ),
        ("::", "", "listens on ::; "),
    ],
)
async def test_a_worker_says_where_it_is_and_who_sees_what(
    tmp_path: Path, host: str, token: str, said: str
) -> None:
    async with open_system(tmp_path) as system:
        environ = {**LOCAL, "VSDK_TRIO_HOST": host, "VSDK_TRIO_DEBUG_TOKEN": token}
        program = await start(system, FROM_ENV, VSDK_TRIO_REGISTRY_URL=system.url, **environ)
        await registered(system, program)
        lines = [line for line in program.output.splitlines() if "dashboard at" in line]
        assert len(lines) == 1
        assert said in lines[0]
        await ended(program)


TWO_ADDRESSES = """
import socket
real = socket.getaddrinfo
def found(host, *args, **fields):
    if host != "localhost":
        return real(host, *args, **fields)
    return real("::1", *args, **fields) + real("127.0.0.1", *args, **fields)
socket.getaddrinfo = found
"""


async def test_localhost_is_reached_at_whichever_address_it_listens(tmp_path: Path) -> None:
    """What listens on one address only is found by a name that has two."""
    (tmp_path / "sitecustomize.py").write_text(TWO_ADDRESSES)
    here = {**LOCAL, "PYTHONPATH": str(tmp_path), "VSDK_TRIO_HOST": "127.0.0.1"}
    async with open_system(tmp_path) as system:
        for host in ("127.0.0.1", "::1"):
            async with open_registry(host=host) as running:
                url = f"http://localhost:{running.url.rpartition(':')[2]}"
                program = await start(system, FROM_ENV, VSDK_TRIO_REGISTRY_URL=url, **here)
                await eventually(lambda r=running: r.registry.workers(), "no worker")
                await ended(program)


@pytest.mark.parametrize("program", ["worker", "registry"])
async def test_localhost_is_all_of_its_addresses(tmp_path: Path, program: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(TWO_ADDRESSES)
    async with open_system(tmp_path) as system:
        here = {"PYTHONPATH": str(tmp_path)}
        if program == "worker":
            environ = {**LOCAL, **here, "VSDK_TRIO_HOST": "localhost"}
            running = await start(system, FROM_ENV, VSDK_TRIO_REGISTRY_URL=system.url, **environ)
            await registered(system, running)
            (url,) = re.findall(r"dashboard at (\S+),", running.output)
        else:
            command = ("-m", "vsdk_trio", "registry", "--host", "localhost", "--port", "0")
            running = await system.start(*command, env=here)
            await eventually(lambda: "registry ready" in running.output, "no registry")
            (url,) = re.findall(r"registry ready at (\S+)", running.output)
        for host in ("127.0.0.1", "::1"):
            await (await trio.open_tcp_stream(host, int(url.rpartition(":")[2]))).aclose()
        await ended(running)
