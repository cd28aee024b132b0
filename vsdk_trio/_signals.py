"""Which signals ask a program of ours to end. A leaf: the standard library only."""

from __future__ import annotations

import signal


def ending_signals() -> tuple[signal.Signals, ...]:
    """SIGINT, SIGTERM, and SIGHUP, which comes when the terminal is closed.

    SIGHUP is left alone where it is ignored: so `nohup` asks for it.
    """
    names = ["SIGINT", "SIGTERM"]
    hangup = getattr(signal, "SIGHUP", None)  # not on Windows
    if hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN:
        names.append("SIGHUP")
    return tuple(signal.Signals[name] for name in names)
