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
_USUAL_ENDS: Final = (
    ("completed", EndCause.RETURNED),
    ("cancelled", EndCause.TERMINATED),
    ("cancelled", EndCause.WORKER_STOPS),
    ("cancelled", EndCause.STOPPED),
    *(
        ("failed", cause)
        for cause in (
            EndCause.RAISED,
            EndCause.TIME_LIMIT,
            EndCause.MEMORY_LIMIT,
            EndCause.NO_PROCESS,
            EndCause.BAD_ASSIGNMENT,
            EndCause.PROCESS_DIED,
            EndCause.PROCESS_KILLED,
            EndCause.WORKER_FAILED,
        )
    ),
)

OFFERS_ACCEPTED: Final = Family(
    name="vsdk_trio_offers_accepted_total",
    kind="counter",
    help="Offers answered with a yes.",
    when="Flat while callers wait: compare with refused offers, and look whether any offer comes.",
)
OFFERS_REFUSED: Final = Family(
    name="vsdk_trio_offers_refused_total",
    kind="counter",
    help="Offers answered with a no, by the class of the reason.",
    labels=(Label("reason", REFUSALS),),
    when=(
        "at_capacity: more workers, or a greater max_processes. overloaded: load_fnc is above "
        "load_threshold. request_fnc_*: your own function; the log has what it raised. closed: the "
        "worker drains. no_job_process_comes_up: /readyz says why."
    ),
)
PROMISES_EXPIRED: Final = Family(
    name="vsdk_trio_promises_expired_total",
    kind="counter",
    help="Slots held for a promised job whose assignment did not come within assignment_timeout.",
    when="Each is a slot that was empty for so long: the registry chose somebody else or is slow.",
)
ASSIGNMENTS_REFUSED: Final = Family(
    name="vsdk_trio_assignments_refused_total",
    kind="counter",
    help="Assignments answered with failed, because there was no slot for them.",
    labels=(Label("reason", REFUSALS),),
    series=(("at_capacity",), ("closed",)),
    when="The registry assigns late or unasked: calls are lost. Compare with expired promises.",
)
ASSIGNMENTS_REPEATED: Final = Family(
    name="vsdk_trio_assignments_repeated_total",
    kind="counter",
    help="Assignments of a job that runs or has ended here; it is told again and not run twice.",
    when="A few after a reconnect are normal. A steady rate: the registry does not take updates.",
)
TERMINATIONS: Final = Family(
    name="vsdk_trio_terminations_received_total",
    kind="counter",
    help="Terminations sent by the registry, for a job that is here, or is unknown here.",
    labels=(Label("job", ("here", "unknown")),),
    when="unknown: the registry believes in jobs that this worker does not have.",
)
TRANSITIONS_OF_JOBS: Final = Family(
    name="vsdk_trio_job_transitions_total",
    kind="counter",
    help="Moves of jobs from one state into another; a job that is accepted comes from none.",
    labels=(Label("from_state", ("none", *STATES)), Label("to_state", STATES)),
    series=TRANSITIONS,
    when="Where jobs get stuck: what goes into a state and does not come out of it.",
)
JOBS_ENDED: Final = Family(
    name="vsdk_trio_jobs_ended_total",
    kind="counter",
    help="Jobs that have ended, by how, and by what made them end.",
    labels=(Label("state", ENDS), Label("cause", tuple(EndCause))),
    series=tuple((state, cause.replace(" ", "_")) for state, cause in _USUAL_ENDS),
    when=(
        "raised: your entrypoint; its traceback is in the log under the job_id. process_died: a "
        "crash or the kernel's OOM killer. process_killed: a job that ignores being stopped. "
        "no_process: see process start failures. worker_failed: a bug of vsdk_trio, please report."
    ),
)
JOBS_RECOVERED: Final = Family(
    name="vsdk_trio_jobs_recovered_total",
    kind="counter",
    help="Jobs of an earlier life of this worker whose end is told now, by how that found them.",
    labels=(Label("was", ("interrupted", "ended")),),
    when="interrupted: calls that were lost with a worker that was killed. Find out what kills it.",
)
STAGE_SECONDS: Final = Family(
    name="vsdk_trio_dispatch_stage_seconds",
    kind="histogram",
    help="How long each stage of a dispatch took, in seconds.",
    labels=(Label("stage", tuple(DispatchStage)),),
    buckets=FAST_BUCKETS,
    when=(
        "offer_to_answer: your request_fnc. assignment_to_process: too few idle processes, or a "
        "slow state_dir. process_to_entrypoint: a busy machine. entrypoint_to_running: joining the "
        "room, with wait. end_to_proven: the registry or the way to it is slow."
    ),
)
JOB_SECONDS: Final = Family(
    name="vsdk_trio_job_duration_seconds",
    kind="histogram",
    help="How long jobs lived, from their acceptance to their end, in seconds.",
    labels=(Label("state", ENDS),),
    buckets=SLOW_BUCKETS,
    when="Many short failed ones: jobs that crash as they start.",
)
LOOP_LAG: Final = Family(
    name="vsdk_trio_job_loop_lag_seconds",
    kind="histogram",
    help="The longest step in a job's event loop between two of its signs of life, in seconds.",
    buckets=FAST_BUCKETS,
    when="Above 0.1 s callers hear it: something in the agent computes in its event loop.",
)
LOOP_BLOCKS: Final = Family(
    name="vsdk_trio_job_loop_blocks_total",
    kind="counter",
    help="Times that a job was found to answer nothing, because something blocks its event loop.",
    when="The log names the job: move what blocks into a thread.",
)
MEMORY_WARNINGS: Final = Family(
    name="vsdk_trio_job_memory_warnings_total",
    kind="counter",
    help="Times that a job was found above memory_warn_mb.",
    when="A leak, or a limit that is too low for what the agent does; the log names the job.",
)


FRAMES: Final = ("availability_request", "job_assignment", "job_termination", "pong")
MESSAGES: Final = ("availability_response", "job_update", "status_update")

PROCESSES_STARTED: Final = Family(
    name="vsdk_trio_processes_started_total",
    kind="counter",
    help="Job processes that were started.",
    when="Much faster than jobs come: processes die idle, see their ends.",
)
PROCESSES_FAILED: Final = Family(
    name="vsdk_trio_process_start_failures_total",
    kind="counter",
    help="Job processes that could not be started or made ready, by the class of the reason.",
    labels=(Label("cause", tuple(StartFailure)),),
    when=(
        "failed_to_initialize: your module or initialize_process_fnc raises. too_late: a greater "
        "initialize_timeout, or less to import. not_started, died: the machine; see the log."
    ),
)
PROCESSES_GIVEN: Final = Family(
    name="vsdk_trio_processes_given_total",
    kind="counter",
    help="Jobs that were given a process: an idle one (warm), or one they had to wait for (cold).",
    labels=(Label("start", ("warm", "cold")),),
    when="cold: callers waited for a process to start; raise num_idle_processes.",
)
PROCESSES_ENDED: Final = Family(
    name="vsdk_trio_processes_ended_total",
    kind="counter",
    help="Job processes that are gone, by how: killed is by the worker, after they did not stop.",
    labels=(Label("how", ("clean", "error", "signalled", "killed")),),
    when="signalled: a native crash or the OOM killer. killed: jobs that block while they stop.",
)
IDLE_PROCESSES_DIED: Final = Family(
    name="vsdk_trio_idle_processes_died_total",
    kind="counter",
    help="Idle job processes that ended by themselves.",
    when="Something that the agent's module starts while it is imported ends the process.",
)
PROCESS_READY_SECONDS: Final = Family(
    name="vsdk_trio_process_ready_seconds",
    kind="histogram",
    help="How long job processes took from their start until they were ready, in seconds.",
    buckets=FAST_BUCKETS,
    when="What the agent imports; a cold start is this long.",
)
SESSIONS_OPENED: Final = Family(
    name="vsdk_trio_sessions_opened_total",
    kind="counter",
    help="Times that the worker was registered.",
    when="More than one: reconnects. Compare with lost sessions.",
)
SESSIONS_ENDED: Final = Family(
    name="vsdk_trio_sessions_ended_total",
    kind="counter",
    help="Registered sessions that are over: lost, or closed by the worker.",
    labels=(Label("how", ("lost", "closed")),),
    when="lost: the network, a proxy with an idle timeout, or the registry; the log says which.",
)
ATTEMPTS_FAILED: Final = Family(
    name="vsdk_trio_session_attempts_failed_total",
    kind="counter",
    help="Times that there was no session and the worker waited to try again, by why.",
    labels=(Label("cause", ("lost", "unreachable", "refused", "token")),),
    when="refused, token: the token, at once. unreachable: the address, DNS, TLS or a proxy.",
)
FRAMES_RECEIVED: Final = Family(
    name="vsdk_trio_frames_received_total",
    kind="counter",
    help="Frames from the registry that mean something, by type.",
    labels=(Label("type", FRAMES),),
    when="No availability_request while others get some: the registry prefers them.",
)
FRAMES_IGNORED: Final = Family(
    name="vsdk_trio_frames_ignored_total",
    kind="counter",
    help="Frames from the registry that mean nothing here, by kind.",
    labels=(Label("kind", ("malformed", "unknown", "early", "repeated", "unread")),),
    when="unknown: a newer registry. malformed: something between that is no registry.",
)
MESSAGES_QUEUED: Final = Family(
    name="vsdk_trio_messages_queued_total",
    kind="counter",
    help="Messages for the registry that were put into the outbox, by type.",
    labels=(Label("type", MESSAGES),),
    when="For rates; compare job_update with messages proven.",
)
MESSAGES_DROPPED: Final = Family(
    name="vsdk_trio_messages_dropped_total",
    kind="counter",
    help="Messages that were not sent, because the session that asked for them was over.",
    labels=(Label("type", MESSAGES),),
    series=(("availability_response",),),
    when="Sessions break while offers are being decided; see lost sessions and request_fnc.",
)
MESSAGES_PROVEN: Final = Family(
    name="vsdk_trio_messages_proven_total",
    kind="counter",
    help="Messages that the registry is known to have, by type.",
    labels=(Label("type", MESSAGES),),
    series=(("job_update",),),
    when="Behind messages queued for long: the registry does not answer; see updates owed.",
)
LINK_SECONDS: Final = Family(
    name="vsdk_trio_link_ping_seconds",
    kind="histogram",
    help="Round trips of WebSocket pings to the registry's end of the link, in seconds.",
    buckets=FAST_BUCKETS,
    when="The network, or a proxy; every answer and every update takes half of it.",
)
JOURNAL_RECORDS: Final = Family(
    name="vsdk_trio_journal_records_total",
    kind="counter",
    help="Records that the journal has written to disk.",
    when="Only with state_dir.",
)
JOURNAL_SECONDS: Final = Family(
    name="vsdk_trio_journal_write_seconds",
    kind="histogram",
    help="How long a batch of records took to be safe on the disk, in seconds.",
    buckets=FAST_BUCKETS,
    when="Jobs wait for it before they start: above 50 ms, a faster disk for state_dir.",
)
JOURNAL_FAILURES: Final = Family(
    name="vsdk_trio_journal_failures_total",
    kind="counter",
    help="Times that the journal was given up: the worker goes on without.",
    when="Any: jobs do not survive a crash any more. Mend the disk and restart the worker.",
)
