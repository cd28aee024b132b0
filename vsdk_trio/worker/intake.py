"""Answers the registry: offers, assignments and terminations, one event after the other.

Decides synchronously and posts; what may take time (the user's `request_fnc`) runs in a task of
its own. It does not run jobs and does not know how they are run.
"""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Callable
from typing import assert_never

import attrs
import trio

from .._change import Change
from ..backend.events import BackendEvent, SessionLost
from ..jobs.admission import Admission, Refusal, RefusalCause
from ..jobs.lifecycle import StopCause, Update
from ..options import JobRequest, RequestFnc
from ..protocol.messages import (
    AvailabilityRequest,
    JobAssignment,
    JobTermination,
    WorkerPong,
)
from ..protocol.session import Registered
from ..protocol.vocabulary import JobFact
from .link import RegistryLink
from .live_jobs import LiveJobs
from .load import Load
from .reporter import Reporter

logger = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class Terms:
    """On which terms the worker takes jobs; times in seconds."""

    request_fnc: RequestFnc | None
    request_timeout: float
    assignment_timeout: float


class Intake:
    """Turns the registry's events into answers, live jobs and stops.

    Arguments: `token`, asked for each yes: the worker's own token of the moment; `on_registered`,
    called at the beginning of each session, before anything of it is taken.
    """

    def __init__(
        self,
        *,
        link: RegistryLink,
        admission: Admission,
        load: Load,
        jobs: LiveJobs,
        reporter: Reporter,
        terms: Terms,
        token: Callable[[], str],
        change: Change,
        on_registered: Callable[[], None],
    ) -> None:
        self._link = link
        self._admission = admission
        self._load = load
        self._jobs = jobs
        self._reporter = reporter
        self._terms = terms
        self._token = token
        self._change = change
        self._on_registered = on_registered
        # The session whose events are being handled: the connection counts them the same way.
        self._epoch = 0
        # The sessions in which a job was offered while `request_fnc` has not decided yet.
        self._undecided: dict[str, list[int]] = {}

    async def run(self) -> None:
        """Handle events until cancelled."""
        async with trio.open_nursery() as nursery:
            async for event in self._link:
                self._handle(event, nursery)

    async def expire_promises(self) -> None:
        """Free the slots whose assignment does not come; runs until cancelled."""
        while True:
            now = trio.current_time()
            for job_id in self._admission.expire(now):
                logger.warning("no assignment came in time; slot freed", extra={"job_id": job_id})
                self._change.notify()
            wake = self._admission.next_expiry
            with trio.move_on_at(math.inf if wake is None else wake):
                await self._change.wait()

    def _handle(self, event: BackendEvent, nursery: trio.Nursery) -> None:
        match event:
            case AvailabilityRequest():
                self._consider(event, nursery)
            case JobAssignment():
                self._take(event)
            case JobTermination():
                self._terminate(event)
            case Registered():
                self._epoch += 1
                self._on_registered()
                self._change.notify()
            case SessionLost():
                self._change.notify()
            case WorkerPong():
                pass
            case _:
                assert_never(event)

    # Offers

    def _consider(self, request: AvailabilityRequest, nursery: trio.Nursery) -> None:
        job_id, epoch = request.job_id, self._epoch
        if self._jobs.last_word(job_id) is not None:
            self._refuse(job_id, epoch, f"job {job_id} has already ended here")
            return
        answer = self._admission.offer(job_id, load=self._load.for_offers())
        if isinstance(answer, Refusal):
            self._refuse(job_id, epoch, answer.reason)
        elif (request_fnc := self._terms.request_fnc) is None:
            self._promise(job_id, epoch)
        elif (asked_by := self._undecided.get(job_id)) is not None:
            asked_by.append(epoch)
        else:
            self._undecided[job_id] = [epoch]
            nursery.start_soon(self._ask, request_fnc, request)

    async def _ask(self, request_fnc: RequestFnc, request: AvailabilityRequest) -> None:
        reason = await ask(request_fnc, request, timeout_seconds=self._terms.request_timeout)
        for epoch in self._undecided.pop(request.job_id):
            if reason is None:
                self._promise(request.job_id, epoch)
            else:
                self._admission.withdraw(request.job_id)
                self._refuse(request.job_id, epoch, reason)

    def _promise(self, job_id: str, epoch: int) -> None:
        deadline = trio.current_time() + self._terms.assignment_timeout
        self._admission.promise(job_id, expires_at=deadline)
        self._link.post(self._reporter.yes(job_id, self._token()), epoch=epoch)
        self._change.notify()

    def _refuse(self, job_id: str, epoch: int, reason: str) -> None:
        logger.info("offer refused: %s", reason, extra={"job_id": job_id})
        self._link.post(self._reporter.no(job_id, reason), epoch=epoch)
        self._change.notify()

    # Assignments and terminations

    def _take(self, assignment: JobAssignment) -> None:
        job_id = assignment.job_id
        if (ended := self._jobs.last_word(job_id)) is not None:
            logger.warning("assigned again after its end; told so", extra={"job_id": job_id})
            self._post(job_id, ended)
            return
        refusal = self._admission.claim(job_id)
        if refusal is None:
            logger.info("job accepted", extra={"job_id": job_id, "room_id": assignment.room_id})
            self._jobs.accept(assignment)
        elif refusal.cause is RefusalCause.RUNNING:
            logger.warning("assigned again while it runs; told so", extra={"job_id": job_id})
            if (job := self._jobs.get(job_id)) and (told := job.told):
                self._post(job_id, told)
        else:
            logger.warning("assignment refused: %s", refusal.reason, extra={"job_id": job_id})
            # The registry is told that it has failed: assigned again, it must not run after all.
            end = Update(JobFact.FAILED, refusal.reason)
            self._jobs.remember(job_id, end)
            self._post(job_id, end)

    def _terminate(self, termination: JobTermination) -> None:
        job_id = termination.job_id
        reason = f"terminated: {termination.reason}" if termination.reason else "terminated"
        if (job := self._jobs.get(job_id)) is not None:
            if job.stop(StopCause(reason)):
                logger.info("job is being stopped: %s", reason, extra={"job_id": job_id})
            return
        # Nothing is said of a job that is not here: its end was told, or will be by its worker.
        logger.info("termination of a job that is not here", extra={"job_id": job_id})
        self._admission.withdraw(job_id)
        self._change.notify()

    def _post(self, job_id: str, update: Update) -> None:
        self._link.post(self._reporter.update(job_id, update))


async def ask(
    request_fnc: RequestFnc, request: AvailabilityRequest, *, timeout_seconds: float
) -> str | None:
    """What the user's `request_fnc` decides: None to take the job, or the reason for a no.

    A plain function runs in a thread, so that one that blocks holds up nobody; when it takes too
    long, it is left behind there. Whatever it raises is the reason for a no.
    """
    job = JobRequest(
        job_id=request.job_id,
        job_type=request.job_type,
        room_id=request.room_id,
        room_name=request.room_name,
        agent_name=request.agent_name,
        namespace=request.namespace,
    )
    with trio.move_on_after(timeout_seconds):
        try:
            if inspect.iscoroutinefunction(request_fnc):
                answer = await request_fnc(job)
            else:
                answer = await trio.to_thread.run_sync(request_fnc, job, abandon_on_cancel=True)
        except Exception as error:  # foreign code; the error goes where it is read
            logger.exception("request_fnc raised", extra={"job_id": job.job_id})
            return f"request_fnc raised {type(error).__name__}: {error}"
        match answer:
            case True | None:
                return None
            case str() if answer:
                return answer
            case False:
                return "refused by request_fnc"
        return f"request_fnc must return a bool, None or a reason, got {type(answer).__name__}"
    return f"request_fnc did not decide within {timeout_seconds:g} s"
