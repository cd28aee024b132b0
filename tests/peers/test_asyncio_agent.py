"""An agent of the published package, unmodified, as a job of ours: `@vsdk_trio.aio.entrypoint`."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what it imports is not ours to mend
    from registry_process import TOKEN, RegistryProcess, running_registry
    from websockets.sync.client import connect

pytestmark = [
    pytest.mark.real,
    pytest.mark.filterwarnings("default"),  # its warnings are not ours to forbid
]
AGENT = Path(__file__).with_name("asyncio_agent.py")
PATIENCE_SECONDS = 40.0  # the package alone takes seconds to load


def until(look: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := look()):
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.05)
    return found


@contextmanager
def running_worker(registry: RegistryProcess, directory: Path) -> Iterator[None]:
    """Run the agent's worker around the body; stopped, it must end cleanly."""
    environ = os.environ | {"REGISTRY_URL": registry.url, "WORKER_TOKEN": TOKEN}
    environ.pop("VIDEOSDK_AUTH_TOKEN", None)
    with subprocess.Popen([sys.executable, str(AGENT)], cwd=directory, env=environ) as process:
        try:
            until(lambda: registry.call("GET", "/v2/agent/workers")[1]["workers"])
            yield
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=PATIENCE_SECONDS) == 0


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("agent")


@pytest.fixture(scope="module")
def registry(directory: Path) -> Iterator[RegistryProcess]:
    with running_registry() as registry, running_worker(registry, directory):
        yield registry


@pytest.fixture
def notes(directory: Path) -> Callable[[], list[str]]:
    file = directory / "notes.txt"
    file.unlink(missing_ok=True)
    return lambda: file.read_text().splitlines() if file.exists() else []


def dispatch(registry: RegistryProcess, do: str, **options: Any) -> str:
    body = {
        "agentId": "peer",
        "meetingId": "room-1",
        "metadata": {"do": do},
        "roomOptions": {"name": "Ada", **options},
    }
    status, answer = registry.call("POST", "/v2/agent/dispatch", body)
    assert status == 200, answer
    job_id: str = answer["data"]["jobId"]
    return job_id


def ended(registry: RegistryProcess, job_id: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        job = registry.job(job_id)
        return job if job["status"] in ("completed", "failed", "cancelled") else None

    job: dict[str, Any] = until(look)
    return job


def test_its_entrypoint_is_given_its_own_context_and_fails_truthfully(
    registry: RegistryProcess, notes: Callable[[], list[str]]
) -> None:
    job = ended(registry, dispatch(registry, "raise"))
    assert job["status"] == "failed"
    assert job["error"].startswith("ValueError: as told (asyncio_agent.py:")
    assert notes() == [
        "room-1 videosdk /ws Ada",
        f"auth {TOKEN} metadata ['do']",
        "callback",
    ]


def test_terminated_it_is_cancelled_and_its_callbacks_run(
    registry: RegistryProcess, notes: Callable[[], list[str]]
) -> None:
    job_id = dispatch(registry, "wait")
    until(lambda: len(notes()) == 2)
    registry.call("POST", f"/v2/agent/jobs/{job_id}/terminate", {"reason": "enough"})
    job = ended(registry, job_id)
    assert (job["status"], job["error"]) == ("cancelled", "terminated: enough")
    assert notes()[2:] == ["cancelled", "callback"]


def test_terminated_a_clean_up_that_runs_until_shutdown_is_let_go(
    registry: RegistryProcess, notes: Callable[[], list[str]]
) -> None:
    job_id = dispatch(registry, "wait in a clean-up")
    until(lambda: len(notes()) == 2)
    registry.call("POST", f"/v2/agent/jobs/{job_id}/terminate", {"reason": "enough"})
    started = time.monotonic()
    assert ended(registry, job_id)["status"] == "cancelled"
    assert time.monotonic() - started < 10  # the grace for a clean-up is 15 s
    assert notes()[2:] == ["let go", "callback"]


def test_a_room_that_is_not_joined_in_time_fails_the_job(
    registry: RegistryProcess, notes: Callable[[], list[str]]
) -> None:
    """The package logs that, and waits for ever."""
    options = {"join_timeout_seconds": 2, "signaling_base_url": "127.0.0.1:1"}
    job = ended(registry, dispatch(registry, "connect", **options))
    assert job["status"] == "failed"
    text = "the room room-1 was not joined within 2 s (RoomOptions.join_timeout_seconds)"
    assert text in job["error"]
    assert notes()[-1] == "callback"


def test_why_a_room_was_not_joined_is_the_error_of_the_job(registry: RegistryProcess) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        options = {"transport_mode": "websocket", "websocket": {"port": port}}
        job = ended(registry, dispatch(registry, "swallow", **options))
    assert job["status"] == "failed"
    assert job["error"].startswith("RoomError: the room could not be joined: [Errno 98]")
    assert str(port) in job["error"]


def test_it_joins_by_its_own_transport_and_runs_until_the_end(
    registry: RegistryProcess, notes: Callable[[], list[str]]
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    websocket = {"port": port, "path": "/agent"}
    job_id = dispatch(registry, "run", transport_mode="websocket", websocket=websocket)

    def client() -> Any:
        try:
            return connect(f"ws://127.0.0.1:{port}/agent")
        except OSError:
            return None

    with until(client) as peer:
        until(lambda: "session started, in the job: True" in notes())
        peer.close()
    assert ended(registry, job_id)["status"] == "completed"
    assert notes()[0] == "room-1 websocket /agent Ada"
    assert "callback" in notes()
    assert notes()[-1] == "returned"
