"""`WorkerJob`: the front door. An entrypoint, its context and its options, and `start()`.

Imported by the user's script also inside a job process, so it loads nothing heavy: the worker is
imported when it is started. Implements the reference's `WorkerJob`.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

import trio

from .errors import EntrypointError, EventLoopError, OptionsError, TokenError
from .jobs.entrypoint import describe
from .options.checks import unknown_name
from .options.published import described, is_published
from .options.room import RoomOptions
from .options.worker import Options, TokenSource
from .runner import for_asyncio
from .runner import recording as _recording
from .runner.job_context import JobContext
from .system.import_hints import patched

if TYPE_CHECKING:
    from .worker.worker import Worker

Entrypoint: TypeAlias = Callable[[JobContext], Awaitable[None]]
ContextSource: TypeAlias = JobContext | Callable[[], JobContext] | None


class WorkerJob:
    """An agent: what to run (`entrypoint`), in which context (`jobctx`), and how (`options`).

    Arguments: `entrypoint`, an `async def` function of one argument, the `JobContext`; `jobctx`, a
    context or a callable that returns one (a lambda is fine), for the room options that jobs start
    from; `options`, by default `Options()`.

    Raises `EntrypointError` (a `TypeError`) here, and not when the first job comes, for an
    entrypoint that is no coroutine function of one argument, or, with `register=True`, that a job
    process could not import.
    """

    def __new__(cls, *_arguments: Any, **named: Any) -> Self:
        """Refuse unknown names, with the right one."""
        for name in named.keys() - _ARGUMENTS:
            if name in _OTHER_NAMES:
                instead = _OTHER_NAMES[name]
                raise OptionsError(f"WorkerJob has no argument {name!r}; write {instead}=...")
            raise unknown_name("WorkerJob", name, _ARGUMENTS)
        return super().__new__(cls)

    def __init__(
        self,
        entrypoint: Entrypoint,
        jobctx: ContextSource = None,
        options: Options | None = None,
    ) -> None:
        if not inspect.iscoroutinefunction(entrypoint):
            raise EntrypointError(
                f"entrypoint must be an `async def` function that takes the JobContext, "
                f"got {entrypoint!r}"
            )
        _check_signature(entrypoint)
        self.entrypoint = entrypoint
        self.jobctx = jobctx if jobctx is None or callable(jobctx) else _own_context(jobctx)
        self.options = Options() if options is None else Options.taken_over(options)
        if _recording.is_recording():
            # Built by the user's script as a job process loads it: its context has what could
            # not be sent there.
            _recording.record(self)
        elif self.options.register and not _recording.is_only_loading():
            describe(entrypoint)

    @classmethod
    def taken_over(cls, job: object) -> WorkerJob:
        """`job` itself, or one of ours like a `WorkerJob` of the published package.

        The entrypoint of that one needs asyncio. Raises `OptionsError` for anything else, and for
        what cannot be taken over.
        """
        if isinstance(job, WorkerJob):
            return job
        if not is_published(job, "WorkerJob"):
            raise OptionsError(f"expected a vsdk_trio.WorkerJob, got {described(job)}")
        theirs: Any = job
        return cls(
            for_asyncio.entrypoint(theirs.entrypoint), jobctx=theirs.jobctx, options=theirs.options
        )

    def __repr__(self) -> str:
        mode = "registered" if self.options.register else "direct"
        return f"<WorkerJob {_name_of(self.entrypoint)} {mode}>"

    def context(self) -> JobContext:
        """The context that jobs start from: `jobctx`, or what it returns, or a default one."""
        given = self.jobctx
        context = given() if callable(given) else given
        if context is None:
            return JobContext(room_options=RoomOptions())
        return _own_context(context)

    def start(self) -> None:
        """Run until the end: serve a registry, or run the entrypoint once, here and now.

        With `register=True`, serves until SIGTERM (which drains) or SIGINT; with `register=False`,
        runs the entrypoint in this process, its shutdown callbacks included. Returns after an
        orderly end. Ends the program with the exit code of `docs/architecture.md` and one clear
        line on stderr otherwise; what the entrypoint raises in direct mode comes out as it is.

        Inside a job process it does nothing, so that a script whose last line is `job.start()` can
        be loaded there; nor where multiprocessing loads the script in a child that it has spawned.

        Raises `EventLoopError` inside a running event loop, which it would block, and where gevent
        or eventlet have patched what Trio runs on. Any thread may call it; signals reach the main
        one only.
        """
        if _recording.is_only_loading():
            return
        _check_no_loop_runs()
        if (why := patched()) is not None:
            raise EventLoopError(why)
        from .system.signals import (
            heed_ends_of_children,
            heed_signals_as_process_1,
            interrupt_held_back,
        )

        heed_signals_as_process_1()
        heed_ends_of_children()
        with interrupt_held_back():
            from .telemetry.logs.setup import program_log, tell_of_environment

        options = self.options
        token = options.auth_token if isinstance(options.auth_token, str) else ""
        with program_log(options.log_level, options.log_format, secrets=[token]):
            tell_of_environment(options, os.environ)
            self._serve() if options.register else self._run_here()

    def _serve(self) -> None:
        from .system.signals import interrupt_held_back

        with interrupt_held_back():
            from .worker.worker import run_worker_program

        run_worker_program(self.worker)

    def _run_here(self) -> None:
        from .system.signals import interrupt_held_back

        with interrupt_held_back():
            from .runner.direct import run_direct

        try:
            context = self.context()
            context.room_options.effective_transport(os.environ)
            token = _usable_token(self.options)
        except (OptionsError, TokenError) as error:
            from .system.stopping import exit_code_of
            from .telemetry.logs.setup import say_last

            say_last(f"vsdk_trio: {error}")
            raise SystemExit(exit_code_of(error)) from None
        run_direct(self.entrypoint, context, options=self.options, token=token)

    async def run(self) -> None:
        """Serve a registry from inside a running Trio program, until cancelled or signalled.

        The same as `start()` with `register=True`, except that errors are raised.
        """
        await self.worker().run()

    def worker(self) -> Worker:
        """A worker for this job, not yet running."""
        from .worker.worker import Worker

        context = self.context()
        return Worker(
            self.options,
            entrypoint=self.entrypoint,
            room_options=context.room_options,
            metadata=context.metadata,
        )


_ARGUMENTS: Final = ("entrypoint", "jobctx", "options")
# What other versions and other packages call them.
_OTHER_NAMES: Final = {
    "job_func": "entrypoint",
    "entrypoint_fnc": "entrypoint",
    "func": "entrypoint",
    "job_context": "jobctx",
    "context": "jobctx",
    "ctx": "jobctx",
    "worker_options": "options",
}


def _name_of(entrypoint: Any) -> str:
    function = entrypoint.func if isinstance(entrypoint, functools.partial) else entrypoint
    return str(getattr(function, "__qualname__", type(function).__qualname__))


def _check_signature(entrypoint: Entrypoint) -> None:
    try:
        signature = inspect.signature(entrypoint)
    except ValueError as error:  # a partial with an argument that its function does not take
        raise EntrypointError(f"entrypoint cannot be called: {error}") from None
    try:
        signature.bind(None)
    except TypeError:
        raise EntrypointError(
            f"entrypoint must take the JobContext: {_name_of(entrypoint)}{signature} "
            f"cannot be called with one argument"
        ) from None


def _own_context(context: object) -> JobContext:
    """`context` itself, or one of ours with what the published package's has."""
    if isinstance(context, JobContext):
        return context
    if is_published(context, "JobContext"):
        given: Any = context
        return JobContext(room_options=given.room_options, metadata=given.metadata)
    raise OptionsError(
        f"jobctx must be a JobContext or return one, got {described(context)}; write "
        "JobContext(room_options=RoomOptions(room_id=..., name=...))"
    )


def _check_no_loop_runs() -> None:
    """Raise where a loop runs in this thread: it would stand still for as long as the worker."""
    if trio.lowlevel.in_trio_run():
        raise EventLoopError(
            "start() runs an event loop of its own; inside a Trio program write `await job.run()`"
        )
    asyncio = sys.modules.get("asyncio")  # a program that has not loaded it runs no loop of its
    if asyncio is not None and asyncio._get_running_loop() is not None:
        raise EventLoopError(
            "start() runs an event loop of its own and would block the asyncio loop that runs "
            "here; call it outside of `async def` (no asyncio.run around it), or in a thread: "
            "`await asyncio.to_thread(job.start)`"
        )


def _usable_token(options: Options) -> TokenSource | None:
    """The token for direct mode, or what signs one where there are only keys; None without both.

    A worker has a connection that makes one. In direct mode, a job may do without.

    Raises:
        TokenError: for a token that cannot be one.
    """
    names = ("VIDEOSDK_AUTH_TOKEN", "VIDEOSDK_API_KEY", "VIDEOSDK_SECRET_KEY")
    given, *keys = (os.environ.get(name, "").strip() for name in names)
    is_given = bool(options.auth_token or given)
    if callable(options.auth_token) or not (is_given or all(keys)):
        return options.auth_token
    from .backend.token import TokenProvider

    provider = TokenProvider(options.auth_token)
    provider.check()
    return options.auth_token if is_given else provider.get
