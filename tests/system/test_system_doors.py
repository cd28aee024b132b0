"""Secrets in every text that a user can give, and a look at every byte that leaves."""

from __future__ import annotations

import base64
import http.server
import json
import re
import signal
import socket
import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpcore
import pytest
import trio

from vsdk_trio.registry.actions import DispatchError
from vsdk_trio.registry.http_api import make_app as registry_app
from vsdk_trio.registry.ledger import DispatchRequest
from vsdk_trio.status.app import make_app as worker_app

from .conftest import Programs, System, eventually, open_system

pytestmark = pytest.mark.real

# What each holds must come out nowhere. Known ones look like nothing at all.
WORKER = "opaque+worker/of=mine-0123"
SECRET_KEY = "n0t-t0-be-seen-any-where"
PROVIDER = "pr0vider-without-a-look"
DEBUG = "d3bug-t0ken-of-the-w0rker"
JOB = "j0b-t0ken-of-the-assignment"
PROXY = "pr0xy-passw0rd"
KNOWN = (WORKER, SECRET_KEY, PROVIDER, DEBUG, PROXY)
PARTS = ("HiddenMaterial1", "a8F3kQ9zR2LmN7xY5bTv")
LOOKS = (
    f"GET https://x/v1?token={PARTS[0]}&a=b",
    f"x-api-key: {PARTS[0]}",
    f"sk-proj-{PARTS[1]}",
    f"AIza{PARTS[1]}{PARTS[1]}",
    f"https://me:{PARTS[0]}@host/x",
    f"https%3A%2F%2Fme%3A{PARTS[0]}%40host",
    f"Authorization: Bearer {PARTS[1]}",
    json.dumps(json.dumps({"password": PARTS[0]})),
)
ENVIRON = {
    "VIDEOSDK_AUTH_TOKEN": WORKER,
    "VIDEOSDK_API_KEY": "key-of-the-pr0ject",
    "VIDEOSDK_SECRET_KEY": SECRET_KEY,
    "SOME_PROVIDER_API_KEY": PROVIDER,
    "VSDK_TRIO_DEBUG_TOKEN": DEBUG,
    "HTTPS_PROXY": f"http://me:{PROXY}@127.0.0.1:9",
    "VSDK_TRIO_PORT": "0",
    "VSDK_TRIO_NUM_IDLE_PROCESSES": "0",
}


def planted(*more: str) -> list[str]:
    """Every secret in every form that something may give it."""
    forms = [
        form
        for secret in (*KNOWN, *more)
        for form in (
            secret,
            quote(secret, safe=""),
            quote(quote(secret, safe=""), safe=""),
            base64.b64encode(secret.encode()).decode(),
            f"Basic {base64.b64encode(f'me:{secret}'.encode()).decode()}",
        )
    ]
    return [*forms, *LOOKS]


def assert_hidden(data: bytes | str, where: str, *more: str) -> None:
    """Neither a secret nor half of one is in it."""
    text = data.decode("utf-8", "replace") if isinstance(data, bytes) else data
    for secret in (*planted(*more), *PARTS):
        # Of what looks like one, the name before it stays; of a known one, nothing.
        if secret not in LOOKS:
            found = text.find(secret[:14])
            around = text[max(0, found - 80) : found + 60]
            assert found < 0, f"{secret[:14]!r} in {where}: ...{around}..."


async def every_answer(app: Any, url: str, token: str, **ids: str) -> dict[str, bytes]:
    """What each GET route of the application answers with, found by its own table."""
    answers: dict[str, bytes] = {}
    headers = [("Authorization", f"Bearer {token}")]
    async with httpcore.AsyncConnectionPool() as pool:
        for route in app.routes:
            if "GET" not in (getattr(route, "methods", None) or ()):
                continue
            path = route.path.replace("{name}", "no-such").replace("{job_id:path}", ids["job_id"])
            queries = ("", f"?id={ids['job_id']}", "?format=json")
            streams = ("", f"?job={ids['job_id']}")
            for query in streams if path == "/events" else queries:
                async with pool.stream("GET", url + path + query, headers=headers) as response:
                    body = b""
                    # A stream of events has no end: its first seconds have everything.
                    with trio.move_on_after(1.5 if path == "/events" else 20):
                        async for chunk in response.aiter_stream():
                            body += chunk
                answers[path + query] = body
    return answers


async def run_to_the_end(system: System, room: str, **metadata: Any) -> str:
    request = DispatchRequest(
        agent_id="agent",
        room_id=room,
        room_options={"auth_token": JOB},
        metadata=metadata,
        timeout=8,
    )
    with trio.fail_after(60):
        job = await system.registry.dispatch(request)
        await system.registry.wait_ended(job.job_id)
    return job.job_id


async def refuse(system: System, room: str) -> None:
    with pytest.raises(DispatchError):
        await system.registry.dispatch(DispatchRequest(agent_id="agent", room_id=room, timeout=2))


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_a_worker_and_its_jobs(tmp_path: Path, short_path: Path) -> None:
    # The job's own it knows by itself: nobody can hide it before it is assigned.
    (tmp_path / "secrets.json").write_text(json.dumps(planted()))
    systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    systemd.bind(str(short_path / "notify"))
    systemd.setblocking(False)
    with systemd:
        async with open_system(tmp_path, auth_token=WORKER) as system:
            agent = Path(__file__).with_name("agents") / "leaking.py"
            environ = {**ENVIRON, "NOTIFY_SOCKET": str(short_path / "notify")}
            environ["VSDK_TRIO_SIGNALING_BASE_URL"] = system.url
            program = await system.start(str(agent), env=environ)
            await eventually(
                lambda: system.registry.workers() or program.process.poll() is not None, "no worker"
            )
            assert system.registry.workers(), program.output
            await refuse(system, "refused")
            await refuse(system, "raises")
            job_id = await run_to_the_end(system, "room", kind="raises")
            await run_to_the_end(system, "room", kind="exits")
            for number in (0, 13, 29, 47):
                await run_to_the_end(system, "room", kind="cut", number=number)
            request = DispatchRequest(
                agent_id="agent",
                room_id="room",
                metadata={"kind": "waits"},
                room_options={"auth_token": JOB},
                wait=True,  # so that who has joined is told
            )
            waiting = await system.registry.dispatch(request)
            await eventually(
                lambda: system.registry.job(waiting.job_id).participant_name, "not in the room"
            )
            url = f"http://127.0.0.1:{_port(program.output)}"
            sources: Any = None  # none is asked: only the table of routes is looked at
            answers = await every_answer(
                worker_app(sources, trio.Event()), url, DEBUG, job_id=waiting.job_id
            )
            # The registry is this process: what it knows is its own token.
            system.registry.terminate(waiting.job_id, f"enough: {WORKER} {' '.join(LOOKS)}")
            await system.registry.wait_ended(waiting.job_id)
            shown = await every_answer(
                registry_app(system.registry, trio.Event()), system.url, WORKER, job_id=job_id
            )
            program.signal(signal.SIGTERM)
            await program.exit_code()
        heard = b""
        while True:
            try:
                heard += systemd.recv(65536)
            except BlockingIOError:
                break
    assert len(answers) > 30
    assert "job_update" in {frame["type"] for frame in system.registry.frames}
    for path, body in answers.items():
        assert_hidden(body, f"GET {path}", JOB)
    for path, body in shown.items():
        assert_hidden(body, f"the registry's GET {path}", JOB)
    assert b"RuntimeError" in answers["/events"]
    for frame in system.registry.frames:
        # By design: who the worker is, and what the job is to join with.
        open_ones = {"register": ("token",), "availability_response": ("token",)}
        for name in open_ones.get(frame["type"], ()):
            frame.pop(name, None)
        assert_hidden(json.dumps(frame), f"a {frame['type']} frame", JOB)
    assert_hidden(heard, "what systemd is told", JOB)
    assert "printed:" in program.output
    assert "callback after" in program.output
    assert_hidden(program.output, "the log", JOB)
    journal = [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
    assert journal
    for path in journal:
        assert_hidden(path.read_bytes(), path.name, JOB)
    spans = (tmp_path / "spans.jsonl").read_text()
    assert "RuntimeError" in spans
    assert_hidden(spans, "the spans", JOB)


def _port(log: str) -> int:
    found = re.search(r"127\.0\.0\.1:(\d+)", log)
    assert found, log
    return int(found[1])


PROGRAM = """
import json, sys, threading
from pathlib import Path
from vsdk_trio import JobContext, Options, RoomOptions, WorkerJob

ALL = " | ".join(json.loads(Path("secrets.json").read_text()))

async def entrypoint(ctx):
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    fail()

def fail():
    raise RuntimeError(ALL)

job = WorkerJob(
    entrypoint,
    jobctx=JobContext(room_options=RoomOptions(transport_mode="loopback")),
    options=Options(agent_id="agent", register=False),
)
if __name__ == "__main__":
    job.start()
"""


@pytest.mark.parametrize(
    "command",
    [
        ("agent.py",),
        ("-m", "vsdk_trio", "connect", "agent.py"),
        ("-m", "vsdk_trio", "run", "fails.py"),
        ("-m", "vsdk_trio", "doctor", "--registry", "URL"),
        ("-m", "vsdk_trio", "jobs", "--registry", "URL"),
        ("-m", "vsdk_trio", "jobs", "--registry", "URL", "--json"),
        ("-m", "vsdk_trio", "workers", "--registry", "URL"),
        ("-m", "vsdk_trio", "dispatch", "agent", "--registry", "URL"),
        ("-m", "vsdk_trio", "terminate", "job", "--registry", "URL"),
        ("-m", "vsdk_trio", "drain", "URL"),
        ("-m", "vsdk_trio", "top", "--registry", "URL", "--json"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("status", [200, 500])
async def test_what_a_program_says(tmp_path: Path, command: tuple[str, ...], status: int) -> None:
    """The agent's own errors, and a peer that answers with secrets whatever it is asked."""
    if "URL" not in command and status == 500:
        return
    (tmp_path / "secrets.json").write_text(json.dumps(planted()))
    (tmp_path / "agent.py").write_text(PROGRAM)
    (tmp_path / "fails.py").write_text(f"{PROGRAM}\nfail()\n")
    with _peer(status) as url:
        argv = [url if word == "URL" else word for word in command]
        programs = Programs(tmp_path)
        program = await programs.start(*argv, env={**ENVIRON, "VSDK_TRIO_REGISTRY_TOKEN": WORKER})
        with trio.move_on_after(5 if "top" in command else 60):
            await program.process.wait()
        await programs.end()
    assert program.output
    if {"agent.py", "fails.py"} & {*command}:
        assert "RuntimeError: " in program.output
    assert_hidden(program.output, " ".join(command))


class _Peer:
    def __init__(self, status: int) -> None:
        text = " | ".join(planted())
        job = {"job_id": text, "status": text, "error": text, "room_id": text, "agent_id": text}
        answer = {
            "message": text,
            "error": text,
            "jobs": [job],
            "job": job,
            "workers": [{"worker_id": text, "agent_id": text, "status": text}],
            "data": {"jobId": text, "status": text, "roomId": text, "registryUrl": text},
            "stage": text,
            "waiting_for": [text],
        }
        body = json.dumps(answer).encode()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, format: str, *args: object) -> None: ...

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> str:
        self._thread.start()
        return f"http://127.0.0.1:{self._server.server_port}"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


_peer = _Peer
