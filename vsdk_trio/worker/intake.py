"""Answers the registry: offers, assignments and terminations, one event after the other.

Decides synchronously and posts; what may take time (the user's `request_fnc`) runs in a task of
its own. It does not run jobs and does not know how they are run.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import assert_never

import attrs
import trio

from .._masking import mask
from .._service import Notifier
from ..backend.events import BackendEvent, SessionLost
from ..jobs.admission import Admission, Refusal, RefusalCause
from ..jobs.lifecycle import EndCause, StopCause, Update
from ..options.worker import JobRequest, RequestFnc
from ..protocol.messages import (
    AvailabilityRequest,
    JobAssignment,
    JobTermination,
    WorkerPong,
)
from ..protocol.session import Registered
from ..protocol.vocabulary import JobFact
from ..system.threads import run_in_thread
from ..telemetry import events as seen
from ..telemetry.logs.loggers import get_logger
from .link import RegistryLink
from .live_jobs import LiveJobs
from .load import Load
from .reporter import Reporter, presentable
from .telling import Teller

logger = get_logger(__name__)


@attrs.frozen(kw_only=True)
class Terms:
    """On which terms the worker takes jobs; times in seconds."""

    request_fnc: RequestFnc | None
    request_timeout: float
    assignment_timeout: float


@attrs.frozen(kw_only=True)
class _Offer:
    """An offer that is to be answered in the session `epoch`."""

    job_id: str
    room_id: str
    epoch: int
    came_at: float


class Intake:
    """Turns the registry's events into answers, live jobs and stops.

    Arguments: `token`, asked for each yes: the worker's own token of the moment; `teller`, for what
    an assignment is answered with; `on_registered`, called at the beginning of each session, before
    anything of it is taken; `trouble`, why no job can be run; `observe`, told of what is decided.
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
        teller: Teller,
        change: Notifier,
        on_registered: Callable[[], None],
        trouble: Callable[[], str | None],
        observe: seen.Observe,
    ) -> None:
        self._trouble = trouble
        self._observe = observe
        self._link = link
        self._admission = admission
        self._load = load
        self._jobs = jobs
        self._reporter = reporter
        self._terms = terms
        self._token = token
        self._teller = teller
        self._change = change
        self._on_registered = on_registered
        self._is_open = trio.Event()
        self._promised = Notifier()
        # The session whose events are being handled: the connection counts them the same way.
        self._epoch = 0
        # The offers of a job while `request_fnc` has not decided yet: one of each session.
        self._undecided: dict[str, list[_Offer]] = {}

    def open(self) -> None:
        """From now on events are handled: what is taken will be run, or nothing is taken."""
        self._is_open.set()

    async def run(self) -> None:
        """Handle events, once opened, until the connection has ended, or cancelled."""
        await self._is_open.wait()
        async with trio.open_nursery() as nursery:
            await self._link.hand_events_to(partial(self._handle, nursery))

    async def expire_promises(self) -> None:
        """Free the slots whose assignment does not come; runs until cancelled."""
        while True:
            now = trio.current_time()
            for job_id in self._admission.expire(now):
                logger.warning("no assignment came in time; slot freed", extra={"job_id": job_id})
                self._observe(seen.PromiseExpired(job_id=job_id))
                self._change.notify()
            if (wake := self._admission.next_expiry) is None:
                await self._promised.wait()
            else:  # a later promise runs out later
                await trio.sleep_until(wake)

    def _handle(self, nursery: trio.Nursery, event: BackendEvent) -> None:
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
        job_id = request.job_id
        offer = _Offer(
            job_id=job_id,
            room_id=request.room_id,
            epoch=self._epoch,
            came_at=trio.current_time(),
        )
        if self._jobs.last_word(job_id) is not None:
            text = f"job {job_id} has already ended here"
            self._refuse(offer, Refusal(RefusalCause.ENDED, text))
            return
        answer = self._admission.offer(
            job_id, load=self._load.for_offers(), trouble=self._trouble()
        )
        if isinstance(answer, Refusal):
            self._refuse(offer, answer)
        elif (request_fnc := self._terms.request_fnc) is None:
            self._promise(offer)
        elif (undecided := self._undecided.get(job_id)) is not None:
            undecided.append(offer)
        else:
            self._undecided[job_id] = [offer]
            nursery.start_soon(self._ask, request_fnc, request)

    async def _ask(self, request_fnc: RequestFnc, request: AvailabilityRequest) -> None:
        refusal = await ask(request_fnc, request, timeout_seconds=self._terms.request_timeout)
        for offer in self._undecided.pop(request.job_id, ()):
            if refusal is None:
                self._promise(offer)
            else:
                self._admission.withdraw(request.job_id)
                self._refuse(offer, refusal)

    def refuse_undecided(self) -> None:
        """Answer the offers that `request_fnc` has not decided: their slots are held no longer."""
        undecided, self._undecided = self._undecided, {}
        for offers in undecided.values():
            for offer in offers:
                self._promise(offer)

    def _promise(self, offer: _Offer) -> None:
        job_id = offer.job_id
        deadline = trio.current_time() + self._terms.assignment_timeout
        refusal = self._admission.promise(job_id, expires_at=deadline)
        if refusal is not None:
            self._refuse(offer, refusal)
            return
        self._promised.notify()
        self._link.post(self._reporter.yes(job_id, self._token()), epoch=offer.epoch)
        self._answered(offer, None)

    def _refuse(self, offer: _Offer, refusal: Refusal) -> None:
        fields = self._jobs.log_fields(offer.job_id, offer.room_id)
        logger.info("offer refused: %s", refusal.reason, extra=fields)
        self._link.post(self._reporter.no(offer.job_id, refusal.reason), epoch=offer.epoch)
        self._answered(offer, refusal)

    def _answered(self, offer: _Offer, refusal: Refusal | None) -> None:
        self._change.notify()
        answered = seen.OfferAnswered(job_id=offer.job_id, room_id=offer.room_id)
        if refusal is not None:
            answered = attrs.evolve(
                answered, refusal=refusal.cause.value, reason=presentable(refusal.reason)
            )
        seconds = trio.current_time() - offer.came_at
        stage = seen.DispatchStage.OFFER_TO_ANSWER
        self._observe(seen.StageTook(job_id=offer.job_id, stage=stage, seconds=seconds))
        self._observe(answered)

    # Assignments and terminations

    def _take(self, assignment: JobAssignment) -> None:
        job_id = assignment.job_id
        fields = self._jobs.log_fields(job_id, assignment.room_id)
        if (ended := self._jobs.last_word(job_id)) is not None:
            logger.warning("assigned again after its end; told so", extra=fields)
            self._observe(seen.AssignmentRepeated(job_id=job_id))
            self._teller.repeat(job_id, ended)
            return
        refusal = self._admission.claim(job_id)
        if refusal is None:
            self._jobs.accept(assignment, fields)
            logger.info("job accepted", extra=fields)  # a record takes a while, and the job waits
        elif refusal.cause is RefusalCause.RUNNING:
            logger.warning("assigned again while it runs; told so", extra=fields)
            self._observe(seen.AssignmentRepeated(job_id=job_id))
            if (job := self._jobs.get(job_id)) and (told := job.told):
                self._teller.repeat(job_id, told)
        else:
            logger.warning("assignment refused: %s", refusal.reason, extra=fields)
            cause, reason = refusal.cause.value, mask(refusal.reason)
            self._observe(seen.AssignmentRefused(job_id=job_id, refusal=cause, reason=reason))
            # The registry is told that it has failed: assigned again, it must not run after all.
            end = Update(JobFact.FAILED, refusal.reason)
            self._jobs.remember(job_id, end)
            self._teller.refuse(job_id, end)

    def _terminate(self, termination: JobTermination) -> None:
        job_id = termination.job_id
        reason = f"terminated: {mask(termination.reason)}" if termination.reason else "terminated"
        job = self._jobs.get(job_id)
        self._observe(seen.TerminationReceived(job_id=job_id, is_here=job is not None))
        if job is not None:
            if job.stop(StopCause(reason, cause=EndCause.TERMINATED)):
                logger.info("job is being stopped: %s", reason, extra=job.log_fields)
            return
        # Nothing is said of a job that is not here: its end was told, or will be by its worker.
        logger.info("termination of a job that is not here", extra={"job_id": job_id})
        self._admission.withdraw(job_id)
        self._change.notify()


async def ask(
    request_fnc: RequestFnc, request: AvailabilityRequest, *, timeout_seconds: float
) -> Refusal | None:
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
                answer = await run_in_thread(
                    "call request_fnc", request_fnc, job, abandon_on_cancel=True
                )
        except Exception as error:  # foreign code; the error goes where it is read
            fields = {"job_id": job.job_id, "room_id": job.room_id}
            logger.exception("request_fnc raised", extra=fields)
            text = f"request_fnc raised {type(error).__name__}: {error}"
            return Refusal(RefusalCause.BROKEN, text)
        match answer:
            case True | None:
                return None
            case str() if answer:
                return Refusal(RefusalCause.DECLINED, answer)
            case False:
                return Refusal(RefusalCause.DECLINED, "refused by request_fnc")
        text = f"request_fnc must return a bool, None or a reason, got {type(answer).__name__}"
        return Refusal(RefusalCause.BROKEN, text)
    text = f"request_fnc did not decide within {timeout_seconds:g} s"
    return Refusal(RefusalCause.UNDECIDED, text)
