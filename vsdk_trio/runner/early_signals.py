"""What signals do in a job process before its event loop runs: nothing, while its worker lives.

A signal to the whole process tree, as supervisors send, must end no call and no idle process. The
standard library only: it runs before anything else is imported.
"""

from __future__ import annotations

import select
import signal
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def not_ignored() -> list[signal.Signals]:
    """The signals that may reach this process; what is ignored, as by `nohup`, stays ignored."""
    return [signum for signum in _SIGNALS if signal.getsignal(signum) is not signal.SIG_IGN]


def ignore_while_the_worker_lives(receive_fd: int) -> None:
    """Give signals their usual effect only once the worker has closed the control channel.

    The worker does that before it sends SIGTERM. Handlers, and not `SIG_IGN`, which programs that
    the agent starts would inherit.
    """
    channel = select.poll()
    channel.register(receive_fd, 0)  # POLLHUP is always looked for

    def handle(signum: int, _: FrameType | None) -> None:
        if channel.poll(0):
            signal.signal(signum, signal.SIG_DFL)
            signal.raise_signal(signum)

    for signum in not_ignored():
        signal.signal(signum, handle)
