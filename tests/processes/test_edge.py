"""What a job process inherits."""

from __future__ import annotations

from vsdk_trio.processes.edge import COOKIE_VARIABLE, Command, environment_of


def test_what_is_the_workers_alone_stays_with_it() -> None:
    inherited = {
        "PATH": "/bin",
        "LANG": "C",
        "VSDK_TRIO_DEBUG_TOKEN": "secret",
        "VSDK_TRIO_TRANSPORT": "loopback",
        "NOTIFY_SOCKET": "/run/systemd/notify",
        "WATCHDOG_USEC": "1000000",
        "WATCHDOG_PID": "1",
        COOKIE_VARIABLE: "of another worker",
    }
    command = Command(argv=("program",), cookie="c.1", env_extra={"LANG": "de"})
    assert environment_of(command, inherited) == {
        "PATH": "/bin",
        "LANG": "de",
        "VSDK_TRIO_TRANSPORT": "loopback",
        COOKIE_VARIABLE: "c.1",
    }
