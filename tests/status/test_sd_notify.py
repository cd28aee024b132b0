"""Telling systemd, on real datagram sockets."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import trio

from vsdk_trio._service import Notifier, open_service
from vsdk_trio.status.sd_notify import ServiceManager, ServiceState, notify_service_manager

pytestmark = pytest.mark.real

STARTING = ServiceState(is_ready=False, is_stopping=False, status="starting")
READY = ServiceState(is_ready=True, is_stopping=False, status="registered\nas w")
LEAVING = ServiceState(is_ready=True, is_stopping=True, status="draining")


class Systemd:
    """The other end of the socket."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + name[1:] if name.startswith("@") else name)
        self.socket.setblocking(False)

    async def hears(self) -> list[str]:
        with trio.fail_after(10):
            await trio.lowlevel.wait_readable(self.socket)
        return self.socket.recv(4096).decode().split("\n")

    def has_heard_nothing(self) -> bool:
        try:
            return not self.socket.recv(4096)
        except BlockingIOError:
            return True


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, short_path: Path) -> Iterator[Systemd]:
    if request.param == "abstract" and sys.platform != "linux":
        pytest.skip("abstract addresses are Linux's")
    manager = Systemd(str(short_path / "n") if request.param == "path" else f"@{short_path}")
    with manager.socket:
        yield manager


async def test_ready_then_news_then_leaving(systemd: Systemd) -> None:
    change = Notifier()
    state = STARTING
    manager = ServiceManager.from_env({"NOTIFY_SOCKET": systemd.name}, 1)
    assert manager == ServiceManager(address=systemd.name)
    body = partial(notify_service_manager, manager, lambda: state, change)
    async with open_service(body, grace=5):
        assert await systemd.hears() == ["STATUS=starting"]
        state = READY
        change.notify()
        assert await systemd.hears() == ["READY=1", "STATUS=registered as w"]
        change.notify()  # nothing new
        await trio.sleep(0.3)
        assert systemd.has_heard_nothing()
        state = LEAVING
        change.notify()
        assert await systemd.hears() == ["STOPPING=1", "STATUS=draining"]
    assert systemd.has_heard_nothing()


async def test_an_end_without_a_drain_is_told_too(systemd: Systemd) -> None:
    manager = ServiceManager(address=systemd.name)
    body = partial(notify_service_manager, manager, lambda: READY, Notifier())
    async with open_service(body, grace=5):
        assert await systemd.hears() == ["READY=1", "STATUS=registered as w"]
    assert await systemd.hears() == ["STOPPING=1"]


async def test_the_watchdog_is_fed_at_half_its_interval(systemd: Systemd) -> None:
    environ = {"NOTIFY_SOCKET": systemd.name, "WATCHDOG_USEC": "200000"}
    manager = ServiceManager.from_env(environ, 1)
    assert manager is not None
    assert manager.watchdog_seconds == 0.2
    body = partial(notify_service_manager, manager, lambda: READY, Notifier())
    async with open_service(body, grace=5):
        assert (await systemd.hears())[-1] == "WATCHDOG=1"
        began = trio.current_time()
        for _ in range(3):
            assert await systemd.hears() == ["WATCHDOG=1"]
        assert trio.current_time() - began > 0.25


async def test_a_manager_that_is_gone_is_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    change = Notifier()
    manager = ServiceManager(address=str(tmp_path / "gone"))
    body = partial(notify_service_manager, manager, lambda: LEAVING, change)
    async with open_service(body, grace=5):
        await trio.sleep(0.05)
        change.notify()
        await trio.sleep(0.05)
    assert len(caplog.records) == 1
    assert "systemd gets no notifications any more" in caplog.text


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"NOTIFY_SOCKET": ""}, None),
        ({"NOTIFY_SOCKET": "vsock:2:1"}, None),
        ({"NOTIFY_SOCKET": "/s", "WATCHDOG_USEC": "x"}, ServiceManager(address="/s")),
        ({"NOTIFY_SOCKET": "/s", "WATCHDOG_USEC": "0"}, ServiceManager(address="/s")),
        (
            {"NOTIFY_SOCKET": "/s", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "8"},
            ServiceManager(address="/s"),
        ),
        (
            {"NOTIFY_SOCKET": "/s", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "7"},
            ServiceManager(address="/s", watchdog_seconds=1.0),
        ),
    ],
)
def test_what_the_environment_says(
    environ: dict[str, str], expected: ServiceManager | None
) -> None:
    assert ServiceManager.from_env(environ, 7) == expected
