"""The families about what a worker lives on: job processes, the registry, the journal.

Data only.
"""

from __future__ import annotations

from typing import Final

from ...errors import StartFailure
from .family import FAST_BUCKETS, Family, Label

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
