"""The families about offers and jobs: what is counted of them, and what to do about it.

Data only.
"""

from __future__ import annotations

from typing import Final

from ...jobs.admission import RefusalCause
from ...jobs.lifecycle import EndCause, JobState
from ..events import Stage
from .family import FAST_BUCKETS, SLOW_BUCKETS, Family, Label

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
    labels=(Label("stage", tuple(Stage)),),
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
