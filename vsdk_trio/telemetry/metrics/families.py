"""The families of a worker's counters and histograms: jobs, processes, the registry, the journal.

Data only: names, types, help, labels, and what to do when a value moves.
"""

from __future__ import annotations

from typing import Final

from ...errors import StartFailure
from ...jobs.admission import RefusalCause
from ...jobs.lifecycle import EndCause, JobState
from ..events import DispatchStage
from .tallies import FAST_BUCKETS, SLOW_BUCKETS, Family, Label

STATES: Final = tuple(str(state) for state in JobState)
LIVE_STATES: Final = tuple(str(state) for state in JobState if not state.is_end)
ENDS: Final = tuple(str(state) for state in JobState if state.is_end)
REFUSALS: Final = tuple(RefusalCause)

# Every way that a lifecycle knows.
TRANSITIONS: Final = (
    ("none", "assigned"),
    ("assigned", "starting"),
    ("assigned", "stopping"),
    ("assigned", "failed"),
    ("starting", "assigned"),
    *(("starting", to) for to in ("joining", "running", "stopping", *ENDS)),
    *(("joining", to) for to in ("running", "stopping", *ENDS)),
    *(("running", to) for to in ("stopping", *ENDS)),
    *(("stopping", to) for to in ENDS),
)
_CANCELLED_BY: Final = (EndCause.TERMINATED, EndCause.WORKER_STOPS, EndCause.STOPPED)
_USUAL_ENDS: Final = (
    ("completed", EndCause.RETURNED),
    *(("cancelled", cause) for cause in _CANCELLED_BY),
    *(("failed", cause) for cause in EndCause if cause not in (EndCause.RETURNED, *_CANCELLED_BY)),
)

OFFERS_ACCEPTED: Final = Family(
    name="vsdk_trio_offers_accepted_total",
    kind="counter",
    help="Offers that the worker accepted.",
    when="No increase while callers wait: compare with refused offers; check that offers arrive.",
)
OFFERS_REFUSED: Final = Family(
    name="vsdk_trio_offers_refused_total",
    kind="counter",
    help="Offers that the worker refused, by reason.",
    labels=(Label("reason", REFUSALS),),
    when=(
        "at_capacity: add workers or raise max_processes. overloaded: load_fnc is above "
        "load_threshold. request_fnc_*: your function refused or raised; see the log. closed: the "
        "worker is draining. no_job_process_comes_up: see /readyz."
    ),
)
PROMISES_EXPIRED: Final = Family(
    name="vsdk_trio_promises_expired_total",
    kind="counter",
    help="Accepted offers whose assignment did not arrive within assignment_timeout.",
    when="A slot stayed empty for that time: the registry is slow, or it chose another worker.",
)
ASSIGNMENTS_REFUSED: Final = Family(
    name="vsdk_trio_assignments_refused_total",
    kind="counter",
    help="Assignments that failed because no slot was free, by reason.",
    labels=(Label("reason", REFUSALS),),
    series=(("at_capacity",), ("closed",)),
    when="Calls are lost: the registry assigns late or without an offer. Compare expired promises.",
)
ASSIGNMENTS_REPEATED: Final = Family(
    name="vsdk_trio_assignments_repeated_total",
    kind="counter",
    help="Assignments of a job that the worker already has; it reports the status again.",
    when="A few after a reconnect are normal. A steady rate: the registry loses updates.",
)
TERMINATIONS: Final = Family(
    name="vsdk_trio_terminations_received_total",
    kind="counter",
    help="Terminations from the registry, by whether the worker has the job.",
    labels=(Label("job", ("here", "unknown")),),
    when="unknown: the registry counts jobs that this worker does not have.",
)
TRANSITIONS_OF_JOBS: Final = Family(
    name="vsdk_trio_job_transitions_total",
    kind="counter",
    help="State changes of jobs; a new job comes from the state none.",
    labels=(Label("from_state", ("none", *STATES)), Label("to_state", STATES)),
    series=TRANSITIONS,
    when="Jobs are stuck where more enter a state than leave it.",
)
JOBS_ENDED: Final = Family(
    name="vsdk_trio_jobs_ended_total",
    kind="counter",
    help="Jobs that have ended, by final state and cause.",
    labels=(Label("state", ENDS), Label("cause", tuple(EndCause))),
    series=tuple((state, cause.replace(" ", "_")) for state, cause in _USUAL_ENDS),
    when=(
        "raised: your entrypoint raised; the log has the traceback. process_died: "
        "a crash or the kernel's OOM killer. process_killed: the job did not stop in time. "
        "no_process: see process start failures. worker_failed: a bug of vsdk_trio, please report."
    ),
)
JOBS_RECOVERED: Final = Family(
    name="vsdk_trio_jobs_recovered_total",
    kind="counter",
    help="Jobs of a previous run of this worker, reported after its restart.",
    labels=(Label("was", ("interrupted", "ended")),),
    when="interrupted: the worker was killed during these calls. Find out what kills it.",
)
STAGE_SECONDS: Final = Family(
    name="vsdk_trio_dispatch_stage_seconds",
    kind="histogram",
    help="Duration of each stage of a dispatch, in seconds.",
    labels=(Label("stage", tuple(DispatchStage)),),
    buckets=FAST_BUCKETS,
    when=(
        "offer_to_answer: your request_fnc is slow. assignment_to_process: too few idle processes, "
        "or a slow state_dir. process_to_entrypoint: a busy machine. entrypoint_to_running: with "
        "wait, joining the room. end_to_proven: the registry or the network is slow."
    ),
)
JOB_SECONDS: Final = Family(
    name="vsdk_trio_job_duration_seconds",
    kind="histogram",
    help="Duration of jobs from acceptance to end, in seconds.",
    labels=(Label("state", ENDS),),
    buckets=SLOW_BUCKETS,
    when="Many short failed jobs: they crash at their start.",
)
LOOP_LAG: Final = Family(
    name="vsdk_trio_job_loop_lag_seconds",
    kind="histogram",
    help="The longest step in a job's event loop between two heartbeats, in seconds.",
    buckets=FAST_BUCKETS,
    when="Above 0.1 s callers hear it: the agent computes in its event loop.",
)
LOOP_BLOCKS: Final = Family(
    name="vsdk_trio_job_loop_blocks_total",
    kind="counter",
    help="Times that a job did not respond because its event loop was blocked.",
    when="The log names the job and the stack: move the blocking call into a thread.",
)
MEMORY_WARNINGS: Final = Family(
    name="vsdk_trio_job_memory_warnings_total",
    kind="counter",
    help="Times that a job used more than memory_warn_mb.",
    when="A memory leak, or a limit that is too low for the agent; the log names the job.",
)


FRAMES: Final = ("availability_request", "job_assignment", "job_termination", "pong")
MESSAGES: Final = ("availability_response", "job_update", "status_update")

PROCESSES_STARTED: Final = Family(
    name="vsdk_trio_processes_started_total",
    kind="counter",
    help="Job processes that the worker started.",
    when="Much faster than jobs arrive: idle processes die; see processes ended.",
)
PROCESSES_FAILED: Final = Family(
    name="vsdk_trio_process_start_failures_total",
    kind="counter",
    help="Job processes that did not start or did not become ready, by cause.",
    labels=(Label("cause", tuple(StartFailure)),),
    when=(
        "failed_to_initialize: your module or initialize_process_fnc raises. too_late: raise "
        "initialize_timeout, or import less. not_started, died: the machine; see the log."
    ),
)
PROCESSES_GIVEN: Final = Family(
    name="vsdk_trio_processes_given_total",
    kind="counter",
    help="Jobs that got a process: an idle one (warm), or one started for them (cold).",
    labels=(Label("start", ("warm", "cold")),),
    when="cold: callers waited for a process to start; raise num_idle_processes.",
)
PROCESSES_ENDED: Final = Family(
    name="vsdk_trio_processes_ended_total",
    kind="counter",
    help="Job processes that ended, by how; the worker killed those that did not stop.",
    labels=(Label("how", ("clean", "error", "signalled", "killed")),),
    when="signalled: a native crash or the OOM killer. killed: jobs that blocked at their end.",
)
IDLE_PROCESSES_DIED: Final = Family(
    name="vsdk_trio_idle_processes_died_total",
    kind="counter",
    help="Idle job processes that ended without a job.",
    when="Code that runs at the import of the agent's module ends the process.",
)
PROCESS_READY_SECONDS: Final = Family(
    name="vsdk_trio_process_ready_seconds",
    kind="histogram",
    help="Time from the start of a job process until it is ready, in seconds.",
    buckets=FAST_BUCKETS,
    when="A cold start takes this long: import less in the agent's module.",
)
SESSIONS_OPENED: Final = Family(
    name="vsdk_trio_sessions_opened_total",
    kind="counter",
    help="Times that the worker registered.",
    when="Above 1: the worker reconnected. Compare with lost sessions.",
)
SESSIONS_ENDED: Final = Family(
    name="vsdk_trio_sessions_ended_total",
    kind="counter",
    help="Registered sessions that ended: lost, or closed by the worker.",
    labels=(Label("how", ("lost", "closed")),),
    when="lost: the network, a proxy's idle timeout, or the registry; the log has the reason.",
)
ATTEMPTS_FAILED: Final = Family(
    name="vsdk_trio_session_attempts_failed_total",
    kind="counter",
    help="Failed attempts to get a session, by cause.",
    labels=(Label("cause", ("lost", "unreachable", "refused", "token")),),
    when="refused, token: check the token. unreachable: check the address, DNS, TLS and proxy.",
)
FRAMES_RECEIVED: Final = Family(
    name="vsdk_trio_frames_received_total",
    kind="counter",
    help="Valid frames from the registry, by type.",
    labels=(Label("type", FRAMES),),
    when="No availability_request while other workers get some: the registry prefers them.",
)
FRAMES_IGNORED: Final = Family(
    name="vsdk_trio_frames_ignored_total",
    kind="counter",
    help="Frames from the registry that the worker ignored, by kind.",
    labels=(Label("kind", ("malformed", "unknown", "early", "repeated", "unread")),),
    when="unknown: a newer registry. malformed: the other side is not a registry.",
)
MESSAGES_QUEUED: Final = Family(
    name="vsdk_trio_messages_queued_total",
    kind="counter",
    help="Messages for the registry that entered the outbox, by type.",
    labels=(Label("type", MESSAGES),),
    when="For rates; compare job_update with acknowledged messages.",
)
MESSAGES_DROPPED: Final = Family(
    name="vsdk_trio_messages_dropped_total",
    kind="counter",
    help="Messages that were dropped because their session had ended.",
    labels=(Label("type", MESSAGES),),
    series=(("availability_response",),),
    when="Sessions end while offers are decided; see lost sessions and request_fnc.",
)
MESSAGES_PROVEN: Final = Family(
    name="vsdk_trio_messages_proven_total",
    kind="counter",
    help="Messages that the registry has acknowledged, by type.",
    labels=(Label("type", MESSAGES),),
    series=(("job_update",),),
    when="Below messages queued for long: the registry does not answer; see updates owed.",
)
LINK_SECONDS: Final = Family(
    name="vsdk_trio_link_ping_seconds",
    kind="histogram",
    help="Round-trip time of WebSocket pings to the registry, in seconds.",
    buckets=FAST_BUCKETS,
    when="A slow network or proxy; each answer and update takes half of this time.",
)
JOURNAL_RECORDS: Final = Family(
    name="vsdk_trio_journal_records_total",
    kind="counter",
    help="Records that the journal wrote to disk.",
    when="Only with state_dir.",
)
JOURNAL_SECONDS: Final = Family(
    name="vsdk_trio_journal_write_seconds",
    kind="histogram",
    help="Time to write a batch of records safely to disk, in seconds.",
    buckets=FAST_BUCKETS,
    when="Jobs start after it: above 50 ms, use a faster disk for state_dir.",
)
JOURNAL_FAILURES: Final = Family(
    name="vsdk_trio_journal_failures_total",
    kind="counter",
    help="Times that the worker stopped using the journal after an error.",
    when="Above 0: a crash now loses jobs. Repair the disk and restart the worker.",
)
