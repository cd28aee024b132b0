"""A job process from its first line to its exit code: descriptors, logging, loading, Trio.

At the end it names the threads that keep the process alive. The interpreter waits for every thread
that is no daemon, without a word, and the process keeps its slot meanwhile.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
import traceback
from contextlib import AbstractContextManager, ExitStack, suppress
from functools import partial
from typing import Final

import attrs
import trio

from .._masking import hide_environment
from ..control.frames import MAX_FRAME_BYTES, Hello, InitFailed, Stop, decode_frame, encode_frame
from ..errors import FrameError
from ..jobs.entrypoint import EntrypointRef
from ..jobs.starting import loading_passes
from ..system.proc import COOKIE_VARIABLE
from ..system.signals import heed_ends_of_children
from ..system.threads import could_start
from ..telemetry.logs.loggers import get_logger
from ..telemetry.traces.job_span import prepare
from . import job_log
from .early_signals import listening_to_signals
from .heartbeat import write_stacks_to
from .job_log import RunnerLog
from .loader import Loaded, Preloaded, loading
from .outcome import describe_error, from_the_agent_on
from .rehearsal import TIMES, rehearse
from .runner import EXIT_INIT_FAILED, EXIT_OK, Rehearse, run_runner

logger = get_logger(__name__)

_STDERR = 2
_MAX_SIGNALS = 8


@attrs.frozen(kw_only=True)
class Inherited:
    """What a forked process inherits from its template."""

    log: RunnerLog
    preloaded: Preloaded


def main(
    receive_fd: int, send_fd: int, started_at: float, inherited: Inherited | None = None
) -> int:
    """Run one job process over two descriptors.

    The user's code is imported before an event loop runs, unless the template has imported it.

    Args:
        receive_fd: Brings frames of the worker.
        send_fd: Takes frames to the worker.
        started_at: `time.perf_counter()` at the first line of the process.
        inherited: What a forked process has from its template; None for a fresh interpreter.

    Returns:
        The exit code of the process.
    """
    hide_environment(os.environ)
    if inherited is None:
        heed_ends_of_children()
        log = job_log.install(_STDERR)
        write_stacks_to(_STDERR)
    else:
        log = inherited.log
    hello, rest = read_hello(receive_fd)
    if hello is None:
        return EXIT_OK
    with ExitStack() as stack:
        try:
            loaded = stack.enter_context(_load(hello, started_at, inherited, log))
            if hello.traces:
                prepare(hello.agent_id)
        except (Exception, SystemExit, KeyboardInterrupt, BaseExceptionGroup) as error:
            error = from_the_agent_on(error)
            logger.error("the entrypoint cannot be loaded", exc_info=error)
            _write(send_fd, _init_failed(error))
            return EXIT_INIT_FAILED
        # Loaded code stays. The garbage collector need not look at it again.
        gc.freeze()
        # In a fork the code has run before, but the memory is not its own yet.
        rehearsal = partial(rehearse, TIMES if inherited is None else 1)
        code = trio.run(partial(_run, receive_fd, send_fd, loaded, rest, rehearsal))
    tell_of_lasting_threads()
    return code


def _init_failed(error: BaseException) -> bytes:
    return encode_frame(InitFailed(error=describe_error(error), passes=loading_passes(error)))


def read_hello(receive_fd: int) -> tuple[Hello | None, bytes]:
    """Block until the first `Hello` has come.

    Returns:
        The `Hello`, and the bytes that were read after it. The `Hello` is None if the worker goes
        away, or stops the process, before it sends one.
    """
    buffer = b""
    while chunk := os.read(receive_fd, 1 << 16):
        buffer += chunk
        while b"\n" in buffer:
            line, _, buffer = buffer.partition(b"\n")
            try:
                frame = decode_frame(line)
            except FrameError as error:
                logger.warning("ignored a line before the first frame: %s", error)
                continue
            if isinstance(frame, Hello):
                return frame, buffer
            if isinstance(frame, Stop):
                return None, buffer
            logger.warning("ignored a %s frame before the first Hello", type(frame).__name__)
        if len(buffer) > MAX_FRAME_BYTES:
            buffer = b""
    return None, buffer


def _load(
    hello: Hello, started_at: float, inherited: Inherited | None, log: RunnerLog
) -> AbstractContextManager[Loaded]:
    if inherited is None:  # else the template has set it, and the user's code may have changed it
        job_log.set_level(log, hello.log_level)
    if hello.cookie:
        # A launcher may drop the environment, and the job's own children need the cookie.
        os.environ.setdefault(COOKIE_VARIABLE, hello.cookie)
    initialize = hello.initialize
    return loading(
        EntrypointRef.from_dict(hello.entrypoint),
        None if initialize is None else EntrypointRef.from_dict(initialize),
        callback_seconds=hello.shutdown_callback_timeout,
        started_at=started_at,
        live_options=hello.live_options,
        preloaded=None if inherited is None else inherited.preloaded,
    )


async def _run(
    receive_fd: int,
    send_fd: int,
    loaded: Loaded,
    already_read: bytes,
    rehearsal: Rehearse,
) -> int:
    streams = trio.lowlevel.FdStream(receive_fd), trio.lowlevel.FdStream(send_fd)
    async with streams[0], streams[1]:
        send_signal, signals = trio.open_memory_channel[int](_MAX_SIGNALS)
        token = trio.lowlevel.current_trio_token()

        def note(signum: int) -> None:
            token.run_sync_soon(_put, send_signal, signum)

        with send_signal, signals, listening_to_signals(note):
            return await run_runner(
                *streams,
                loaded,
                already_read=already_read,
                signals=signals,
                rehearse=rehearsal,
            )


def _put(channel: trio.MemorySendChannel[int], signum: int) -> None:
    with suppress(trio.WouldBlock):  # so many wait already that one more says nothing new
        channel.send_nowait(signum)


def _write(fd: int, data: bytes) -> None:
    with suppress(OSError):  # the worker is gone, and the log has the error
        while data:
            data = data[os.write(fd, data) :]


_STANDARD_LIBRARY: Final = threading.__file__.removesuffix("threading.py")
LASTING_SECONDS: Final = 0.5
"""Seconds that threads may take to end before the log names them."""


def tell_of_lasting_threads() -> None:
    """Log the threads that keep this process alive, if there are any a moment later.

    Call it last, in the main thread. It returns at once and waits for no thread. Threads that end
    in time, such as the idle threads of an executor, are not logged.
    """
    if not _lasting():
        return
    teller = threading.Thread(target=_tell, name="lasting threads", daemon=True)
    if not could_start(teller):
        _tell(0)


def _tell(seconds: float = LASTING_SECONDS) -> None:
    time.sleep(seconds)
    if threads := _lasting():
        logger.warning(
            "the job is over, but threads that are no daemons keep its process, and so its slot, "
            "until the worker ends it: %s; end them in a shutdown callback, or make them daemons",
            ", ".join(map(_describe, threads)),
        )


def _lasting() -> list[threading.Thread]:
    main = threading.main_thread()
    return [thread for thread in threading.enumerate() if not thread.daemon and thread is not main]


def _describe(thread: threading.Thread) -> str:
    frame = sys._current_frames().get(thread.ident or 0)
    if frame is None:
        return repr(thread.name)
    # The place in the user's code, and not where the standard library waits.
    places = traceback.extract_stack(frame)
    own = [place for place in places if not _is_standard(place.filename)]
    place = (own or places)[-1]
    file = place.filename.replace("\\", "/").rpartition("/")[2]
    return f"{thread.name!r} ({file}:{place.lineno} in {place.name})"


def _is_standard(filename: str) -> bool:
    return filename.startswith(_STANDARD_LIBRARY) and "site-packages" not in filename
