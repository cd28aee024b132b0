"""The promises, each as a function that looks for a breach in what happened in a world.

What a registry saw and what the edges saw is compared with what the job's program really did.
"""

from __future__ import annotations

from collections import Counter

from vsdk_trio.errors import RegistrationRefusedError, RegistryUnreachableError
from vsdk_trio.worker.engine import MAX_PROCESSES_TRIED

from .logs import TOKEN
from .schedule import Schedule
from .trace import ProcessRecord, SessionRecord, Trace, WorkerRecord
from .truth import PROCESS_FAULTS, outcomes, runs_of

# The longest way of a frame through a network that is not slow, there and back.
_ROUND_TRIP = 4.0
_FLUSH = 5.0
_GOODBYE = 1.0 + 2.0 + 1.0


def hold_to_promises(schedule: Schedule, trace: Trace) -> list[str]:
    """All breaches, those included that were noticed while the world ran."""
    for promise in (
        answers, outcomes, one_run, nothing_left, callbacks, ends, errors, sessions, tokens,
    ):  # fmt: skip
        promise(schedule, trace)
    return trace.violations


# 1. Every availability request gets exactly one answer while its session lives


def answers(schedule: Schedule, trace: Trace) -> None:
    """No offer without an answer, no answer without an offer."""
    is_slow = schedule.network.bytes_per_second is not None
    for session in trace.sessions:
        options = schedule.workers[session.worker].options
        patience = options.get("request_timeout", 5.0) + _ROUND_TRIP + 20 * is_slow
        limit = min(session.faultless_until, _leaves(session, trace)) - patience
        offered: Counter[str] = Counter()
        owed: Counter[str] = Counter()
        for time, frame in session.sent:
            if frame["type"] == "availability_request":
                offered[frame["job_id"]] += 1
                is_registered = time >= (session.registered_at or float("inf"))
                owed[frame["job_id"]] += is_registered and time <= limit
        got = Counter(f["job_id"] for _, f in session.received_of("availability_response"))
        for job_id in offered | got:
            if not owed[job_id] <= got[job_id] <= offered[job_id]:
                trace.violation(
                    f"{got[job_id]} answers to {offered[job_id]} offers of {job_id[:8]} in "
                    f"session {session.number}, of which {owed[job_id]} had the time for one"
                )


def _leaves(session: SessionRecord, trace: Trace) -> float:
    """Until when the worker of a session surely answers: until it says goodbye."""
    for time, frame in session.received_of("status_update"):
        if frame.get("status") == "offline":
            return time
    record = trace.workers[session.worker]
    return record.ended_at if record.ended_at is not None else float("inf")


# 3. No job runs twice in one worker; nothing of it is left


def one_run(schedule: Schedule, trace: Trace) -> None:
    """One run of its entrypoint for a job, and few processes: those that die before it count."""
    for (worker, job_id), given in runs_of(trace).items():
        if (runs := sum(process.entered for process in given)) > 1:
            trace.violation(f"job {job_id[:8]} ran {runs} times in worker {worker}")
        if len(given) > MAX_PROCESSES_TRIED:
            trace.violation(f"job {job_id[:8]} had {len(given)} processes in worker {worker}")
    for process in trace.processes:
        if process.entered > 1:
            trace.violation(f"process {process.pid} ran its entrypoint {process.entered} times")


def nothing_left(schedule: Schedule, trace: Trace) -> None:
    """No process outlives its worker, or its graces."""
    for worker in trace.workers:
        if worker.alive_at_end:
            trace.violation(f"worker {worker.number} left {worker.alive_at_end} processes")
    for process in trace.processes:
        began, ended = process.process.stopping_since, process.ended_at
        if began is None or ended is None or process.orphaned:
            continue
        options = schedule.workers[process.worker].options
        limit = options["close_timeout"] + 3 * options["termination_timeout"]
        if ended - began > limit + 0.01:
            trace.violation(f"process {process.pid} took {ended - began:.2f} s to end")


# 4. Shutdown callbacks run exactly once


def callbacks(schedule: Schedule, trace: Trace) -> None:
    """Once each where the program could run to its end, and at most once anywhere."""
    for process in trace.processes:
        counts = [process.callbacks[number] for number in range(process.callbacks_added)]
        if any(count > 1 for count in counts):
            trace.violation(f"process {process.pid} ran a callback more than once: {counts}")
        could_run = process.entered and process.process.returncode == 0 and not process.crashed
        if could_run and any(count != 1 for count in counts):
            trace.violation(f"process {process.pid} did not run each callback once: {counts}")
        if _was_killed_too_early(schedule, process):
            trace.violation(f"process {process.pid} was killed although it was about to stop")


def _was_killed_too_early(schedule: Schedule, process: ProcessRecord) -> bool:
    plan = process.plan
    if plan is None or process.crashed or process.orphaned or process.process.returncode != -9:
        return False
    options = schedule.workers[process.worker].options
    longest = options["shutdown_callback_timeout"]
    needs = plan.slow_stop + sum(min(callback.seconds, longest) for callback in plan.callbacks)
    graces = min(options["close_timeout"], options["termination_timeout"])
    graces += 2 * options["termination_timeout"]
    return plan.freezes_after is None and needs < graces - 0.01


# 5. Shutdown ends within the sum of its graces, in order


def ends(schedule: Schedule, trace: Trace) -> None:
    """In time, and the goodbye is the last thing that is said."""
    for worker in trace.workers:
        _in_time(worker, trace)
    for session in trace.sessions:
        said = [frame.get("status") for _, frame in session.received]
        if "offline" in said:
            _last_words(session, trace, said)


def _in_time(worker: WorkerRecord, trace: Trace) -> None:
    options = worker.options
    ladder = options["close_timeout"] + 3 * options["termination_timeout"] + 2.0
    journal = 12.0 if "state_dir" in options else 0.0
    for began, how in worker.asked_to_end:
        limit = began + 2 * ladder + 1 + _FLUSH + _GOODBYE + journal
        if how == "drain":
            limit += options["drain_timeout"]
        # The next life of a worker that was killed has to end in time of its own, when it is asked.
        if any(began <= killed <= limit for killed in worker.killed_at):
            continue
        if worker.ended_at is None or worker.ended_at > limit:
            trace.violation(
                f"worker {worker.number}, told to {how} at {began:.2f}, should have ended by "
                f"{limit:.2f} and did at {worker.ended_at}"
            )


def _last_words(session: SessionRecord, trace: Trace, said: list[object]) -> None:
    if said.index("offline") != len(said) - 1:
        trace.violation(f"offline is not the last word in session {session.number}")
    time = session.received[-1][0]
    for process in trace.processes:
        is_mine = process.worker == session.worker and process.started_at <= time
        if is_mine and (process.ended_at or float("inf")) > time:
            trace.violation(f"process {process.pid} outlived the goodbye of its worker")


# 6. No frame ends a worker, a session or another job


def errors(schedule: Schedule, trace: Trace) -> None:
    """A worker ends with an error only where the registry is to blame."""
    for worker in trace.workers:
        match worker.error:
            case None:
                continue
            case RegistrationRefusedError():
                is_fair = bool(trace.faults["refuse"])
            case RegistryUnreachableError():
                is_fair = bool(set(trace.faults) - PROCESS_FAULTS)
            case _:
                is_fair = False
        if not is_fair:
            trace.violation(f"worker {worker.number} ended for no reason: {worker.error!r}")


def sessions(schedule: Schedule, trace: Trace) -> None:
    """A session ends where one side wants it to, or because of a fault."""
    if schedule.network.bytes_per_second is not None:
        return
    for session in trace.sessions:
        worker, ended = trace.workers[session.worker], session.ended_at
        is_explained = (
            ended is None
            or session.ended_by_registry
            or session.connection.faulty_since is not None
            or worker.error is not None
            or any(time <= ended for time, _ in worker.asked_to_end)
        )
        if not is_explained:
            trace.violation(f"session {session.number} ended for no reason ({session.end_code})")


# 7. No token anywhere (logs are looked at while they are written)


def tokens(schedule: Schedule, trace: Trace) -> None:
    """No token in what is said of jobs, or in an error."""
    for session in trace.sessions:
        for kind in ("job_update", "status_update"):
            if any(TOKEN in str(frame) for _, frame in session.received_of(kind)):
                trace.violation(f"a token was sent in a {kind}")
    for worker in trace.workers:
        if TOKEN in f"{worker.error!r}":
            trace.violation(f"a token is in the error of worker {worker.number}")
