"""Flags and arguments of the commands: those that several commands share, and one for each option.

Flags are made from the classes of options, so each option has one. Its help is the first sentence
about it in the docstring of the class; `HEADINGS` has its heading. A test checks that none is
missing.
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

HEADINGS: Final[dict[str, list[str]]] = {
    REGISTRY: [
        "agent_id",
        "auth_token",
        "signaling_base_url",
        "backend_url",
        "http_proxy",
        "ca_file",
        "max_retry",
        "registration_timeout",
        "heartbeat_interval",
        "ping_interval",
        "status_vocabulary",
        "register",
    ],
    JOBS: [
        "max_processes",
        "load_threshold",
        "load_fnc",
        "request_fnc",
        "request_timeout",
        "assignment_timeout",
        "job_timeout",
        "permissions",
        "close_timeout",
        "shutdown_callback_timeout",
        "drain_timeout",
        "termination_timeout",
    ],
    PROCESSES: [
        "executor_type",
        "start_method",
        "preload",
        "num_idle_processes",
        "initialize_timeout",
        "initialize_process_fnc",
        "health_interval",
        "loop_warn_after",
        "memory_warn_cooldown",
        "memory_warn_mb",
        "memory_limit_mb",
    ],
    OPERATING: ["host", "port", "log_level", "log_format", "debug_token", "traces", "state_dir"],
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


def help_of(options: type) -> dict[str, str]:
    """The first sentence that the docstring of a class says of each option, below `Args:`."""
    text = inspect.getdoc(options) or ""  # none under `python -OO`
    lines = text.partition("Args:\n")[2].partition("\n\n")[0].splitlines()
    texts: dict[str, str] = {}
    name = ""
    for line in lines:
        if line.startswith("    " * 2):  # it goes on
            texts[name] += " " + line.strip()
        else:
            name, _, text = line.strip().partition(": ")
            texts[name] = text
    return {name: text.partition(". ")[0].removesuffix(".") + "." for name, text in texts.items()}


def _option_flags(defaults: dict[str, str]) -> Iterator[_Flag]:
    options, says = text_options(Options), help_of(Options)
    panels = [(name, panel) for panel, names in HEADINGS.items() for name in names]
    for name, panel in panels:
        if (option := options.get(name)) is not None and not option.is_secret:
            yield _Flag(
                option=option,
                panel=panel,
                says=says.get(name, ""),
                default=defaults.get(option.name, _shown_default(option)),
                variable=f"${option.variable}",
            )


def _room_flags() -> Iterator[_Flag]:
    help_texts = help_of(RoomOptions)
    for option in text_options(RoomOptions).values():
        # What has a structure comes from a file, where it may hold secrets.
        if not option.is_secret and option.kind is not dict:
            says = help_texts.get(option.name, "")
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
