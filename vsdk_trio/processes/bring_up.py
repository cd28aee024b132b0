"""From a process that was just started to one that is ready for a job.

Knows the first frames of the control channel and the clock; not who wants the process, or what for.
"""

from __future__ import annotations

import trio

from ..control.frames import Hello, InitFailed, Ready
from ..errors import FrameError, JobProcessError, StartFailure
from ..jobs.starting import exit_passes
from .exit import with_last_words
from .job_process import JobProcess


async def bring_up(process: JobProcess, hello: Hello, timeout: float) -> Ready:
    """Send `hello` and wait for `Ready`, at most `timeout` seconds.

    Raises `JobProcessError` where the process fails to initialize, ends, or is too late; the text
    names the cause and the last words of the process. It does not stop the process.
    """
    with trio.move_on_after(timeout):
        try:
            await process.send(hello)
        except FrameError as error:
            text = f"cannot tell a job process what to do: {error}"
            raise JobProcessError(text, StartFailure.INIT_FAILED) from None
        except trio.BrokenResourceError:
            pass  # It is dead, and what follows says of what.
        async for frame in process.frames():
            if isinstance(frame, Ready) and not process.exited.is_set():
                return frame
            if isinstance(frame, InitFailed):
                cause = f"a job process failed to initialize: {frame.error}"
                text = with_last_words(cause, process.stderr_tail)
                raise JobProcessError(
                    text, StartFailure.INIT_FAILED, passes=frame.passes, summary=cause
                )
        await process.exited.wait()
        end = process.exit
        raise JobProcessError(
            end.describe(),
            StartFailure.DIED,
            passes=exit_passes(end.returncode, end.stderr_tail),
            summary=end.summarize(),
        )
    cause = f"a job process was not ready within {timeout:g} s"
    text = with_last_words(cause, process.stderr_tail)
    raise JobProcessError(text, StartFailure.TOO_LATE, passes=True, summary=cause)
