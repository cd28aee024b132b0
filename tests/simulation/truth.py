"""The second promise: every job that a worker took is told to have ended, as it did.

What the registries were told is compared with what the job's program really did.
"""

from __future__ import annotations

from collections import defaultdict

from vsdk_trio.protocol.vocabulary import JobFact, read_job_status

from .schedule import Schedule
from .trace import ProcessRecord, Trace, WorkerRecord

# Faults that keep no worker from its registry.
PROCESS_FAULTS = {
    "process crash", "kill_process", "frozen job", "junk from a job", "initialization fails",
    "unasked assignment", "stray_assignment", "stray_termination", "junk frame", "junk_frame",
    "duplicate frame", "repeat_frame", "foreign_frame", "assign_again", "late frame", "disk_fails",
    "kill_worker",
}  # fmt: skip

Ends = dict[tuple[int, str], list[tuple[float, JobFact, str]]]


def settled_seconds(schedule: Schedule) -> float:
    """How long after its healing a world has surely found back to its order."""
    return 3 * max(plan.options["heartbeat_interval"] for plan in schedule.workers) + 45


def outcomes(schedule: Schedule, trace: Trace) -> None:
    """At least one terminal status, all equal, and true."""
    ends = _ends(trace)
    runs = runs_of(trace)
    for worker in trace.workers:
        taken = dict.fromkeys(worker.accepted)
        told = dict.fromkeys(job_id for number, job_id in ends if number == worker.number)
        for job_id in taken | told:
            found = ends[worker.number, job_id]
            words = dict.fromkeys((fact, error) for _, fact, error in found)
            name = f"job {job_id[:10]} of worker {worker.number}"
            if len(words) > 1:
                trace.violation(f"{name} has ended in several ways: {list(words)}")
            elif not words:
                if not _is_excused(schedule, trace, worker, job_id):
                    trace.violation(f"{name} was taken, and its end was never told")
            else:
                [(fact, error)] = words
                run = runs[worker.number, job_id][-1] if runs[worker.number, job_id] else None
                was_cut_off = run is not None and run.orphaned
                if worker.killed_at and error == "worker was restarted":
                    # Of a process that was gone before, the dead worker may not have known.
                    continue
                if was_cut_off or not _is_true(run, fact, error):
                    trace.violation(f"{name} is said to be {fact.name} ({error}), which is untrue")
    for process in trace.processes:
        if (said := _wrong_word(process)) is not None:
            trace.violation(f"process {process.pid} says {said}")
    _order(trace)


def _ends(trace: Trace) -> Ends:
    found: Ends = defaultdict(list)
    for session in trace.sessions:
        for time, frame in session.received_of("job_update"):
            fact = read_job_status(frame["status"], frame.get("error"))
            if fact is not None and fact is not JobFact.RUNNING:
                found[session.worker, frame["job_id"]].append((time, fact, frame.get("error", "")))
    return found


def runs_of(trace: Trace) -> dict[tuple[int, str], list[ProcessRecord]]:
    found: dict[tuple[int, str], list[ProcessRecord]] = defaultdict(list)
    for process in trace.processes:
        if process.job_id is not None:
            found[process.worker, process.job_id].append(process)
    return found


def _is_true(run: ProcessRecord | None, fact: JobFact, error: str) -> bool:
    if run is None:
        return _is_never_begun(fact, error) or (fact is JobFact.FAILED and bool(error))
    if run.finished is not None:
        match run.finished.status:
            case "completed":
                return fact is JobFact.COMPLETED and not error
            case "failed":
                return fact is JobFact.FAILED and error == run.finished.error
            case "cancelled":
                if not run.entered:
                    return _is_never_begun(fact, error)
                by_fault = error.startswith(("ran longer than", "used "))
                return bool(error) and fact is (JobFact.FAILED if by_fault else JobFact.CANCELLED)
    code = run.process.returncode
    if code is None:
        return False
    if not run.entered and _is_never_begun(fact, error):
        # Its processes died before it began; it was stopped before it had another one.
        return True
    cause = f"exited with code {code}" if code >= 0 else "was killed"
    return fact is JobFact.FAILED and cause in error


def _is_never_begun(fact: JobFact, error: str) -> bool:
    """Whether that is said of a job that was stopped before it began; never `completed`.

    It is read as failed from a worker that speaks the deployed vocabulary.
    """
    return fact in (JobFact.FAILED, JobFact.CANCELLED) and "had not begun" in error


def _wrong_word(run: ProcessRecord) -> str | None:
    """What the runner said of its job, if it is not what the entrypoint did."""
    if run.finished is None or run.plan is None:
        return None
    expected = {run.outcome or "cancelled"}
    if run.plan.end in ("shutdown", "nursery"):
        expected.add("cancelled")  # it was stopped before it came to that
    if run.finished.status in expected:
        return None
    return f"{run.finished.status}, and its entrypoint was {run.outcome or 'stopped'}"


def _order(trace: Trace) -> None:
    for session in trace.sessions:
        ended = set()
        for _, frame in session.received_of("job_update"):
            job_id, fact = frame["job_id"], read_job_status(frame["status"], frame.get("error"))
            if fact is not JobFact.RUNNING:
                ended.add(job_id)
            elif job_id in ended:
                trace.violation(f"{job_id[:8]} runs after its end in session {session.number}")


def _is_excused(schedule: Schedule, trace: Trace, worker: WorkerRecord, job_id: str) -> bool:
    """Whether the worker had to end while it could not reach the registry.

    Where it has a journal, the next one would tell; where that is lost, no one could.
    """
    if "state_dir" in worker.options and not worker.has_lost_journal:
        is_kept = job_id in worker.owed_by_journal
        return is_kept and (worker.error is not None or _had_to_end(schedule, trace, worker))
    return bool(worker.killed_at) or _had_to_end(schedule, trace, worker)


def _had_to_end(schedule: Schedule, trace: Trace, worker: WorkerRecord) -> bool:
    troubles = set(trace.faults) - PROCESS_FAULTS
    if not troubles and schedule.network.bytes_per_second is None:
        return False
    drain = worker.options["drain_timeout"]
    if worker.gave_up_at is not None:
        was_cut = any(how != "drain" for _, how in worker.asked_to_end)
        # It may have been draining already when it gave up.
        began = min([worker.gave_up_at, *(time for time, _ in worker.asked_to_end)])
        return was_cut or worker.ended_at is None or worker.ended_at >= began + drain
    if not worker.asked_to_end:
        return False
    began, how = worker.asked_to_end[0]
    if began >= schedule.heals_at + settled_seconds(schedule):
        return False
    was_cut = len(worker.asked_to_end) > 1 or worker.ended_at is None
    return how != "drain" or was_cut or worker.ended_at >= began + drain
