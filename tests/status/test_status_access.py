"""Which status routes answer to whom."""

from __future__ import annotations

import pytest

from vsdk_trio.status.history import History

from .asking import a_view, app_of, ask
from .test_history import a_job
from .test_status_routes import DRAIN

TOKEN = "a-debug-token"
OPEN = ["/health", "/livez", "/metrics", "/readyz", "/worker"]
PRIVATE = [
    "/",
    "/stats",
    "/debug",
    "/api/status",
    "/debug/worker/",
    "/debug/runners/",
    "/debug/runner/?id=x",
    "/debug/tasks",
    "/jobs/job-1",
]


def view() -> object:
    return a_view(drain=DRAIN)


@pytest.mark.parametrize("path", OPEN)
async def test_probes_are_open(path: str) -> None:
    app = app_of(debug_token=TOKEN)
    headers = {"host": "anything.example", "origin": "http://evil.example"}
    assert (await ask(app, path, peer="192.0.2.1", headers=headers)).status == 200


@pytest.mark.parametrize("path", PRIVATE)
async def test_what_shows_jobs_wants_a_local_peer_or_the_token(path: str) -> None:
    history = History(lambda: 1000.0)
    a_job(history, "job-1", "failed")
    with_token = app_of(debug_token=TOKEN, history=history)
    without = app_of(history=history)
    assert (await ask(without, path)).status == 200
    assert (await ask(with_token, path)).status == 200
    refused = await ask(without, path, peer="192.0.2.1")
    assert refused.status == 403
    assert "VSDK_TRIO_DEBUG_TOKEN" in refused.json["message"]
    refused = await ask(with_token, path, peer="192.0.2.1")
    assert (refused.status, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert "Authorization: Bearer" in refused.json["message"]
    headers = {"authorization": f"Bearer {TOKEN}", "host": "worker.example:8081"}
    assert (await ask(with_token, path, peer="192.0.2.1", headers=headers)).status == 200


async def test_nobody_drains_a_worker_from_elsewhere() -> None:
    asked: list[str] = []
    app = app_of(lambda: a_view(drain=DRAIN), drain=asked.append, debug_token=TOKEN)

    async def status(peer: str = "127.0.0.1", **headers: str) -> int:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return (await ask(app, "/drain", method="POST", peer=peer, headers=named)).status

    assert await status("192.0.2.1") == 401
    assert await status("192.0.2.1", x_forwarded_for="127.0.0.1") == 401
    assert await status(origin="http://evil.example") == 403
    assert await status(origin="null") == 403
    assert await status(host="evil.example:8081") == 403
    assert await status(authorization="Bearer wrong") == 401
    assert asked == []
    assert await status(authorization=f"Bearer {TOKEN}") == 202
    assert await status(origin="http://127.0.0.1:8081") == 202
    assert len(asked) == 2
