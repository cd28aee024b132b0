"""A job that waits for a job process: a mailbox that gets exactly one letter.

Knows neither how processes come to be nor what the job is.
"""

from __future__ import annotations

import trio

from ..errors import JobProcessError
from .job_process import JobProcess


class Waiter:
    """Answered once, synchronously, so that nothing can come between a decision and its effect.

    Argument: `since`, the number of the newest start when the job began to wait: what goes wrong
    with that one, or one before, is nothing that the job has asked for.
    """

    def __init__(self, since: int) -> None:
        self.since = since
        self._send, self._receive = trio.open_memory_channel[JobProcess | JobProcessError](1)

    def answer(self, letter: JobProcess | JobProcessError) -> None:
        """Deliver the one letter."""
        self._send.send_nowait(letter)

    async def wait(self) -> JobProcess | JobProcessError:
        """Wait for the letter. Cancelled, it has not been taken out: see `undelivered`."""
        return await self._receive.receive()

    def undelivered(self) -> JobProcess | None:
        """The process in a letter that came, but was not taken out before the waiter gave up.

        Only for a waiter that was answered.
        """
        letter = self._receive.receive_nowait()
        return letter if isinstance(letter, JobProcess) else None
