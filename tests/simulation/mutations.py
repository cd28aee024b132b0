"""Deliberate bugs, one or more for each promise: a search that finds none of them proves little.

Each breaks the real code for as long as `mutated(name)` lasts.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import attrs
import trio

from vsdk_trio.backend.connection import BackendConnection
from vsdk_trio.backend.session_loop import SessionLoop
from vsdk_trio.control.channel import ControlChannel
from vsdk_trio.jobs.admission import Admission
from vsdk_trio.jobs.lifecycle import EndCause, JobLifecycle
from vsdk_trio.journal.journal import Journal, Ticket
from vsdk_trio.processes import job_process
from vsdk_trio.protocol import session
from vsdk_trio.protocol.codec import decode_from_registry
from vsdk_trio.protocol.messages import WorkerMessage
from vsdk_trio.protocol.outbox import Outbox
from vsdk_trio.protocol.vocabulary import JobFact
from vsdk_trio.runner.callbacks import CallbackStack
from vsdk_trio.worker.actions import Log, Persist, Send
from vsdk_trio.worker.engine import WorkerEngine
from vsdk_trio.worker.recovery import Recovery


@attrs.frozen
class Mutation:
    """A bug: which promise it breaks, what it does, and what it replaces."""

    promise: int
    what: str
    patches: tuple[tuple[Any, str, Any], ...]


MUTATIONS: dict[str, Mutation] = {}


def _bug(promise: int, owner: Any, name: str) -> Callable[[Callable[[Any], Any]], None]:
    """Register the decorated function's result as a bug; it is given what it replaces."""

    def register(make: Callable[[Any], Any]) -> None:
        original = owner.__dict__[name] if isinstance(owner, type) else getattr(owner, name)
        MUTATIONS[make.__name__.strip("_")] = Mutation(
            promise, make.__doc__ or "", ((owner, name, make(original)),)
        )

    return register


@contextmanager
def mutated(name: str | None) -> Iterator[None]:
    """During the body, the code has this bug; None: it is as it is."""
    with ExitStack() as stack:
        if name is not None:
            for owner, attribute, value in MUTATIONS[name].patches:
                stack.enter_context(patch.object(owner, attribute, value))
        yield


# 1


@_bug(1, WorkerEngine, "_promise")
def _answers_twice(original: Any) -> Any:
    """A yes is said twice."""

    def promise(self: Any, offer: Any, now: float) -> Any:
        actions = original(self, offer, now)
        return [*actions, *(action for action in actions if isinstance(action, Send))]

    return promise


@_bug(1, WorkerEngine, "_refuse")
def _silent_no(original: Any) -> Any:
    """A refusal is not said."""
    return lambda self, offer, refusal, now: []


@_bug(1, Admission, "is_full")
def _promises_take_no_slot(original: Any) -> Any:
    """Reservations are not counted."""
    return property(lambda self: self.running >= self.max_processes)


@_bug(1, Outbox, "session_lost")
def _answers_outlive_sessions(original: Any) -> Any:
    """An answer that was not sent is sent in the next session."""

    def session_lost(self: Any) -> None:
        kept = list(self._session)
        original(self)
        self._session.extend(kept)

    return session_lost


# 2


@_bug(2, Outbox, "sent")
def _sent_is_delivered(original: Any) -> Any:
    """What was written counts as delivered."""

    def sent(self: Any, item: Any, now: float) -> None:
        original(self, item, now)
        self._sent.clear()

    return sent


@_bug(2, Outbox, "session_lost")
def _lost_with_its_session(original: Any) -> Any:
    """What is queued dies with the session."""

    def session_lost(self: Any) -> None:
        original(self)
        self._durable.clear()

    return session_lost


@_bug(2, JobLifecycle, "exit")
def _crash_is_success(original: Any) -> Any:
    """A process that exits without a word has completed its job."""

    def exit_(self: Any, how: str, cause: Any = EndCause.PROCESS_DIED) -> Any:
        return None if self.state.is_end else self._end(JobFact.COMPLETED, None, cause)

    return exit_


@_bug(2, WorkerEngine, "_end_of")
def _end_told_differently(original: Any) -> Any:
    """A job that is assigned again after its end is said to have failed."""

    def end_of(self: Any, job_id: str) -> Any:
        if (end := original(self, job_id)) is None:
            return None
        return attrs.evolve(end, fact=JobFact.FAILED, error="assigned again")

    return end_of


@_bug(2, Journal, "write")
def _told_before_it_is_written(original: Any) -> Any:
    """Nobody waits for the disk."""

    def write(self: Any, record: Any) -> Any:
        original(self, record)
        return Ticket(None)

    return write


@_bug(2, WorkerEngine, "_assigned")
def _refusals_are_not_written(original: Any) -> Any:
    """A refused assignment is told of and not written down."""

    def assigned(self: Any, assignment: Any, now: float) -> Any:
        actions = original(self, assignment, now)
        if (end := self._refusing.pop(assignment.job_id, None)) is None:
            return actions
        kept = [action for action in actions if not isinstance(action, Persist)]
        return [*kept, Send(self._update_message(assignment.job_id, end))]

    return assigned


@_bug(2, Recovery, "unacknowledged")
def _nothing_told_after_a_restart(original: Any) -> Any:
    """What an earlier life owes the registry is not told."""
    return property(lambda self: {})


# 3


@_bug(3, WorkerEngine, "_end_of")
def _ends_are_forgotten(original: Any) -> Any:
    """A job that is assigned again runs again."""
    return lambda self, job_id: None


@_bug(3, job_process, "stop_ladder")
def _no_last_rung(original: Any) -> Any:
    """Nobody is killed."""

    async def ladder(handle: Any, send_stop: Any, graces: Any, **rest: Any) -> None:
        with trio.move_on_after(graces.close_timeout):
            await send_stop()
            await trio.sleep_forever()
        handle.signal_group(signal.SIGTERM)
        await trio.sleep_forever()

    return ladder


# 4


@_bug(4, CallbackStack, "run")
def _callbacks_twice(original: Any) -> Any:
    """Every callback runs twice."""

    async def run(self: Any, reason: str, *, seconds_each: float) -> None:
        if self._runner is None:
            self._callbacks = [callback for callback in self._callbacks for _ in range(2)]
        await original(self, reason, seconds_each=seconds_each)

    return run


@_bug(4, CallbackStack, "run")
def _no_callbacks_when_stopped(original: Any) -> Any:
    """A job that is stopped does not run its callbacks."""

    async def run(self: Any, reason: str, *, seconds_each: float) -> None:
        if reason.startswith(("terminated", "worker is", "the worker is", "ran longer")):
            self._callbacks.clear()
        await original(self, reason, seconds_each=seconds_each)

    return run


# 5


@_bug(5, SessionLoop, "leave")
def _goodbye_first(original: Any) -> Any:
    """`offline` is said before what is still to be said."""

    def leave(self: Any) -> None:
        self.outbox.put(WorkerMessage(type="status_update", status="offline"))
        original(self)

    return leave


@_bug(5, BackendConnection, "_watch")
def _endless_flush(original: Any) -> Any:
    """Nothing bounds the last flush; only the service's own grace does."""

    async def watch(self: Any, asked: trio.Event, patience: trio.CancelScope) -> None:
        await asked.wait()
        self._loop.leave()
        with trio.CancelScope(shield=True):
            await trio.sleep(60)

    return watch


# 6


@_bug(6, session, "decode_from_registry")
def _junk_ends_the_worker(original: Any) -> Any:
    """A malformed frame raises where nobody expects it."""

    def decode(text: str | bytes) -> Any:
        try:
            return decode_from_registry(text)
        except Exception as error:
            raise ValueError("junk") from error

    return decode


@_bug(6, ControlChannel, "_decode")
def _junk_ends_the_job(original: Any) -> Any:
    """A line that is no frame raises in the reader of a job process."""

    def decode(self: Any, line: Any) -> Any:
        if (frame := original(self, line)) is None:
            raise ValueError("junk")
        return frame

    return decode


# 7


@_bug(7, WorkerEngine, "_promise")
def _token_in_the_log(original: Any) -> Any:
    """What is said to the registry is logged as it is."""

    def promise(self: Any, offer: Any, now: float) -> Any:
        actions = original(self, offer, now)
        sent = [action.message.dict() for action in actions if isinstance(action, Send)]
        return [Log("info", f"sent: {sent}"), *actions]

    return promise
