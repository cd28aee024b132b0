"""What the command line says of each option, and under which heading. Data only.

The flags themselves are made from the options' classes; a test sees to it that none lacks a line.
"""

from __future__ import annotations

from typing import Final

JOBS: Final = "Jobs"
PROCESSES: Final = "Job processes"
REGISTRY: Final = "Registry"
OPERATING: Final = "Operating"
ROOM: Final = "Room"

HELP: Final[dict[str, tuple[str, str]]] = {
    "agent_id": (REGISTRY, "The name that jobs are dispatched to."),
    "auth_token": (REGISTRY, "The token for the registry."),
    "signaling_base_url": (REGISTRY, "The REST API: a host, or a whole URL."),
    "backend_url": (REGISTRY, "The registry's own URL; skips asking the REST API for it."),
    "http_proxy": (REGISTRY, "A proxy for the way to the registry."),
    "ca_file": (REGISTRY, "PEM file with the certificate authorities to trust."),
    "max_retry": (REGISTRY, "Attempts to reach the registry before giving up."),
    "registration_timeout": (REGISTRY, "How long the registry may take to register the worker."),
    "heartbeat_interval": (REGISTRY, "How often the connection proves that it is alive."),
    "ping_interval": (REGISTRY, "The longest time between two reports of the worker's status."),
    "status_vocabulary": (REGISTRY, "The words that the registry is told."),
    "register": (REGISTRY, "Serve a registry, or run the entrypoint once."),
    "worker_type": (REGISTRY, "The type of worker."),
    "max_processes": (JOBS, "Jobs at the same time."),
    "load_threshold": (JOBS, "Refuse offers while the load is above this."),
    "load_fnc": (JOBS, "Tells the load, from 0 to 1; for example vsdk_trio.load:CpuLoad."),
    "request_fnc": (JOBS, "Decides about each offer."),
    "request_timeout": (JOBS, "How long that may take."),
    "assignment_timeout": (JOBS, "How long a slot is held for a job that was promised."),
    "job_timeout": (JOBS, "How long a job may run."),
    "permissions": (JOBS, "What the agent may do in its room: an object of true and false."),
    "close_timeout": (JOBS, "How long a job may take to stop when it is asked to."),
    "shutdown_callback_timeout": (JOBS, "How long each shutdown callback may take."),
    "drain_timeout": (JOBS, "How long running jobs may go on after SIGTERM."),
    "termination_timeout": (JOBS, "The short grace: before SIGKILL, and after a second Ctrl-C."),
    "executor_type": (PROCESSES, "How jobs are executed."),
    "start_method": (PROCESSES, "How job processes come to be."),
    "preload": (PROCESSES, "Modules that the forkserver's template imports as well: a,b,c."),
    "num_idle_processes": (PROCESSES, "Job processes that are kept ready."),
    "initialize_timeout": (PROCESSES, "How long a job process may take to become ready."),
    "initialize_process_fnc": (PROCESSES, "Runs in each job process before its job comes."),
    "health_interval": (PROCESSES, "How often memory and event loop of a job are looked at."),
    "loop_warn_after": (PROCESSES, "Warn of a job whose event loop is blocked so long; 0: never."),
    "memory_warn_cooldown": (PROCESSES, "How long until a job is warned of again."),
    "memory_warn_mb": (PROCESSES, "Warn of a job that uses more memory; 0: never."),
    "memory_limit_mb": (PROCESSES, "Kill a job that uses more memory; 0: no limit."),
    "host": (OPERATING, "Where the worker's own HTTP listens."),
    "port": (OPERATING, "Its port; 0 takes any free one."),
    "log_level": (OPERATING, "How much is logged."),
    "log_format": (OPERATING, "How the log looks; auto: as is fit for what stderr is."),
    "debug_token": (OPERATING, "What opens the worker's HTTP to other machines."),
    "traces": (OPERATING, "Trace each job with OpenTelemetry, as OTEL_* variables say."),
    "state_dir": (OPERATING, "Where jobs are remembered across a crash of the worker."),
}

ROOM_HELP: Final[dict[str, str]] = {
    "name": "What the agent is called in the room.",
    "agent_participant_id": "The participant id of the agent.",
    "playground": "Show the room's playground link.",
    "vision": "Subscribe to video, too.",
    "recording": "Record the agent.",
    "join_timeout_seconds": "How long joining may take.",
    "join_meeting": "Join the room when the entrypoint connects.",
    "auto_end_session": "End the session when the last participant has left.",
    "session_timeout_seconds": "How long after that.",
    "no_participant_timeout_seconds": "How long to wait for the first participant.",
    "owns_session_metrics": "Report the session's metrics.",
    "stop_recording_on_leave": "End the recording when the agent leaves.",
    "record_all_participants": "Record everybody.",
    "signaling_base_url": "The REST API: a host, or a whole URL.",
    "audio_codec": "The codec for audio.",
    "background_audio": "Allow background audio.",
    "send_logs_to_dashboard": "Send the session's logs to the dashboard.",
    "dashboard_log_level": "How much of them.",
    "transport_mode": "How the room is reached.",
}
