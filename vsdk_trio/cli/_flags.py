"""Flags and arguments of the commands: those that several commands share, and one for each option.

Flags are made from the options' classes, so each option has one. `HELP` says what each is for and
under which heading it stands; a test checks that none is missing.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Container, Iterator
from enum import Enum
from typing import Annotated, Any, Final

import attrs
import typer

from ..options import checks as _check
from ..options.environment import TextOption, text_options
from ..options.room import RoomOptions
from ..options.worker import Options

# Not typer's `envvar`: `options.environment` decides between all sources of the address.
RegistryUrl = Annotated[
    str | None,
    typer.Option(
        "--registry", metavar="URL", help="Where the registry is. ($VSDK_TRIO_REGISTRY_URL)"
    ),
]
DEFAULT_REGISTRY_URL = "http://127.0.0.1:8080"
LocalRegistryUrl = Annotated[
    str | None,
    typer.Option(
        "--registry",
        metavar="URL",
        help="Where the registry is. (default: http://127.0.0.1:8080; $VSDK_TRIO_REGISTRY_URL)",
    ),
]

CaFile = Annotated[
    str | None,
    typer.Option(
        "--ca-file",
        metavar="FILE",
        help="PEM file with the certificate authorities to trust. ($VSDK_TRIO_CA_FILE)",
    ),
]

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]

JobId = Annotated[
    str, typer.Argument(metavar="JOB_ID", help="The job's id, or a unique beginning of it.")
]

Agent = Annotated[
    str,
    typer.Argument(metavar="AGENT", help="FILE.py or MODULE, with :NAME if needed."),
]

Metadata = Annotated[str | None, typer.Option(metavar="JSON", help="A JSON object for the job.")]

Every = Annotated[
    float,
    typer.Option(metavar="SECONDS", min=0.5, help="How long to wait between two looks."),
]

# Only in the environment: other users of the machine can read command lines.
TOKEN_VARIABLE = "VSDK_TRIO_REGISTRY_TOKEN"


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
    "http_proxy": (REGISTRY, "A proxy for the connection to the registry."),
    "ca_file": (REGISTRY, "PEM file with the certificate authorities to trust."),
    "max_retry": (REGISTRY, "Attempts to reach the registry before giving up."),
    "registration_timeout": (REGISTRY, "The longest time for a registration."),
    "heartbeat_interval": (REGISTRY, "How often the connection is checked by a ping."),
    "ping_interval": (REGISTRY, "The longest time between two reports of the worker's status."),
    "status_vocabulary": (REGISTRY, "The status words that the worker sends."),
    "register": (REGISTRY, "Serve a registry, or run the entrypoint once."),
    "worker_type": (REGISTRY, "The type of worker."),
    "max_processes": (JOBS, "How many jobs may run at the same time."),
    "load_threshold": (JOBS, "Refuse offers while the load is above this."),
    "load_fnc": (
        JOBS,
        "A function that returns the load, from 0 to 1, such as vsdk_trio.load:CpuLoad.",
    ),
    "request_fnc": (JOBS, "A function that accepts or refuses each offer."),
    "request_timeout": (JOBS, "The longest time for that decision."),
    "assignment_timeout": (JOBS, "How long a slot is kept for an accepted offer."),
    "job_timeout": (JOBS, "The longest time that a job may run."),
    "permissions": (JOBS, "What the agent may do in its room: a JSON object of true and false."),
    "close_timeout": (JOBS, "How long a job may take to stop."),
    "shutdown_callback_timeout": (JOBS, "How long each shutdown callback may take."),
    "drain_timeout": (JOBS, "How long running jobs may go on after SIGTERM."),
    "termination_timeout": (JOBS, "The wait before SIGKILL, and after a second Ctrl-C."),
    "executor_type": (PROCESSES, "How jobs are executed."),
    "start_method": (PROCESSES, "How job processes are started."),
    "preload": (PROCESSES, "Modules that the template process imports before it forks: a,b,c."),
    "num_idle_processes": (PROCESSES, "How many idle job processes are kept ready."),
    "initialize_timeout": (PROCESSES, "How long a job process may take to become ready."),
    "initialize_process_fnc": (
        PROCESSES,
        "A function that runs in each job process before its job arrives.",
    ),
    "health_interval": (PROCESSES, "How often the memory and event loop of a job are checked."),
    "loop_warn_after": (
        PROCESSES,
        "Warn when a job blocks its event loop for this long; 0: never.",
    ),
    "memory_warn_cooldown": (PROCESSES, "The shortest time between two memory warnings of a job."),
    "memory_warn_mb": (PROCESSES, "Warn when a job uses more memory than this; 0: never."),
    "memory_limit_mb": (PROCESSES, "Kill a job that uses more memory than this; 0: no limit."),
    "host": (OPERATING, "The address of the worker's HTTP server."),
    "port": (OPERATING, "The port of the worker's HTTP server; 0 takes a free one."),
    "log_level": (OPERATING, "The lowest level that is logged."),
    "log_format": (OPERATING, "The format of the log; auto: console on a terminal, else JSON."),
    "debug_token": (OPERATING, "The token that other machines need for the worker's HTTP server."),
    "traces": (OPERATING, "Trace each job with OpenTelemetry; OTEL_* variables configure it."),
    "state_dir": (
        OPERATING,
        "Directory of the journal, which keeps jobs across a crash of the worker.",
    ),
}

ROOM_HELP: Final[dict[str, str]] = {
    "name": "The name of the agent in the room.",
    "agent_participant_id": "The participant id of the agent.",
    "playground": "Show the room's playground link.",
    "vision": "Subscribe to video, too.",
    "recording": "Record the agent.",
    "join_timeout_seconds": "The longest time for joining the room.",
    "join_meeting": "Join the room when the entrypoint connects.",
    "auto_end_session": "End the session after the last participant has left.",
    "session_timeout_seconds": "How long after the last participant left.",
    "no_participant_timeout_seconds": "How long to wait for the first participant.",
    "owns_session_metrics": "Report the session's metrics.",
    "stop_recording_on_leave": "End the recording when the agent leaves.",
    "record_all_participants": "Record all participants.",
    "signaling_base_url": "The REST API: a host, or a whole URL.",
    "audio_codec": "The codec for audio.",
    "background_audio": "Allow background audio.",
    "send_logs_to_dashboard": "Send the session's logs to the dashboard.",
    "dashboard_log_level": "The lowest level of the logs that are sent.",
    "transport_mode": "How the room is reached.",
}


Given = dict[str, Any]
"""Options by name, with the values that were given."""

_METAVARS: Final[dict[Any, str]] = {int: "N", float: "NUMBER", str: "TEXT", dict: "JSON"}


@attrs.frozen(kw_only=True)
class _Flag:
    """One option as a flag."""

    option: TextOption
    panel: str
    says: str
    default: str
    variable: str

    @property
    def spelling(self) -> str:
        return "--" + self.option.name.replace("_", "-")

    def parameter(self) -> inspect.Parameter:
        """The flag as typer wants it: a keyword that is None where it was not given."""
        option, is_switch = self.option, self.option.kind is bool
        names = f"{self.spelling}/--no-{self.spelling[2:]}" if is_switch else self.spelling
        words = _words(option)
        notes = [f"default: {self.default}"] if self.default else []
        notes += [self.variable] if self.variable else []
        info = typer.Option(
            names,
            help=f"{self.says} ({'; '.join(notes)})" if notes else self.says,
            metavar=None if is_switch else _metavar(option),
            rich_help_panel=self.panel,
            show_default=False,
            autocompletion=(lambda: list(words)) if words else None,
        )
        kind = bool | None if is_switch else str | None
        return inspect.Parameter(
            option.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[kind, info],
        )

    def value(self, given: Any) -> Any:
        """What the flag's text stands for."""
        return given if isinstance(given, bool) else self.option.read(self.spelling, given)


def with_options(
    *, leave_out: Container[str] = (), only: Container[str] | None = None, **defaults: str
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command a flag for each of the `Options`; what is given arrives as `given`.

    Arguments: `leave_out`, options that make no sense for the command; `only`, all that make any;
    `defaults`, what the help says in place of a default that the command has another of.
    """
    flags = [
        flag
        for flag in _option_flags(defaults)
        if flag.option.name not in leave_out and (only is None or flag.option.name in only)
    ]
    return functools.partial(_with_flags, flags, "given")


def with_room_options(
    *, leave_out: Container[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command a flag for each simple room option; what is given arrives as `room_given`."""
    flags = [flag for flag in _room_flags() if flag.option.name not in leave_out]
    return functools.partial(_with_flags, flags, "room_given")


def _option_flags(defaults: dict[str, str]) -> Iterator[_Flag]:
    order = list(HELP)
    options = text_options(Options).values()
    for option in sorted(options, key=lambda o: order.index(o.name) if o.name in HELP else 999):
        panel, says = HELP.get(option.name, ("Options", ""))
        if not option.is_secret:
            yield _Flag(
                option=option,
                panel=panel,
                says=says,
                default=defaults.get(option.name, _shown_default(option)),
                variable=f"${option.variable}",
            )


def _room_flags() -> Iterator[_Flag]:
    for option in text_options(RoomOptions).values():
        # What has a structure comes from a file, where it may hold secrets.
        if not option.is_secret and option.kind is not dict:
            says = ROOM_HELP.get(option.name, "")
            variable = "$VSDK_TRIO_TRANSPORT" if option.name == "transport_mode" else ""
            default = "" if option.kind is bool else _shown_default(option)
            yield _Flag(option=option, panel=ROOM, says=says, default=default, variable=variable)


def _with_flags(flags: list[_Flag], name: str, command: Callable[..., None]) -> Callable[..., None]:
    """The command, with these flags in place of its parameter `name`."""
    own = inspect.signature(command, eval_str=True).parameters
    by_name = {flag.option.name: flag for flag in flags}

    @functools.wraps(command)
    def flagged(**arguments: Any) -> None:
        given = {
            name: flag.value(arguments.pop(name))
            for name, flag in by_name.items()
            if arguments[name] is not None
        }
        rest = {key: value for key, value in arguments.items() if key not in by_name}
        command(**rest, **{name: given})

    kept = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in own.values()
        if parameter.name != name
    ]
    parameters = [*kept, *(flag.parameter() for flag in flags)]
    signature = inspect.Signature(parameters)
    del flagged.__wrapped__  # else its own parameters are looked at
    flagged.__signature__ = signature  # type: ignore[attr-defined]  # what typer goes by
    flagged.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return flagged


def _validator(option: TextOption) -> Any:
    """The check of the option's values, also where the option may be left out."""
    validator = option.field.validator
    return getattr(validator, "validator", validator)


def _words(option: TextOption) -> tuple[str, ...]:
    if isinstance(option.kind, type) and issubclass(option.kind, Enum):
        return tuple(str(member.value) for member in option.kind)
    validator = _validator(option)
    return validator.known if isinstance(validator, _check.OneOf) else ()


def _metavar(option: TextOption) -> str:
    if words := _words(option):
        return "|".join(words)
    validator = _validator(option)
    unit = validator.unit.strip(" ()") if isinstance(validator, _check.Number) else ""
    if unit or option.name.endswith("_seconds"):
        return (unit or "seconds").upper()
    return _METAVARS.get(option.kind, "MODULE:NAME")


def _shown_default(option: TextOption) -> str:
    default = option.field.default
    if default is None or default is attrs.NOTHING:
        return ""
    if isinstance(default, Enum):
        return str(default.value)
    if isinstance(default, bool):
        return "yes" if default else "no"
    return f"{default:g}" if isinstance(default, float) else str(default)
