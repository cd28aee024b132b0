"""The options of a worker: every name and default of the published client, and our own.

A leaf: values and their checks only. What an option does is written where it is used; the comment
beside each field says what it means and in which unit.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Literal, TypeAlias

import attrs

from ..errors import OptionsError
from . import checks as _check
from .checks import ends_in_one_line, helpful_init, unknown_name
from .environment import AddressSource, address_options, environment_values
from .published import described, fields_of, has_signed, is_published

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


class ExecutorType(StrEnum):
    """How jobs are executed. Only `PROCESS` is known here: one process for each job."""

    PROCESS = "process"
    THREAD = "thread"


class WorkerType(StrEnum):
    """The type of worker, as the published client names it."""

    ROOM = "room"


@attrs.define
class WorkerPermissions:
    """What the agent's participant may do in its room; the room enforces it."""

    can_publish: bool = True
    can_subscribe: bool = True
    can_publish_data: bool = True
    can_update_metadata: bool = True
    hidden: bool = False


@attrs.frozen(kw_only=True)
class JobRequest:
    """An offered job, as `request_fnc` sees it before the worker answers."""

    job_id: str
    job_type: str
    room_id: str
    room_name: str
    agent_name: str
    namespace: str


# The answer of a `request_fnc`: True or None takes the job, False or a reason refuses it.
RequestAnswer: TypeAlias = bool | str | None
RequestFnc: TypeAlias = Callable[[JobRequest], RequestAnswer | Awaitable[RequestAnswer]]
VocabularyName: TypeAlias = Literal["deployed", "documented"]
LogFormat: TypeAlias = Literal["auto", "console", "json"]
StartMethod: TypeAlias = Literal["auto", "spawn", "forkserver"]
TokenSource: TypeAlias = str | Callable[[], str | Awaitable[str]]


def _executor(value: object) -> object:
    name = getattr(value, "value", value)
    if value is None or (isinstance(name, str) and name.lower() == "process"):
        return ExecutorType.PROCESS
    if isinstance(name, str) and name.lower() == "thread":
        raise OptionsError(
            "option 'executor_type' knows only 'process': a job in a thread cannot be stopped when "
            "it blocks, and takes the worker down when it crashes; leave the option out"
        )
    return value


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


def _path(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _names(value: Any) -> Any:
    if isinstance(value, str):
        value = [name.strip() for name in value.split(",") if name.strip()]
    return tuple(value) if isinstance(value, list) else value


def _permissions(value: Any) -> Any:
    if value is None:
        return WorkerPermissions()
    if is_published(value, "WorkerPermissions"):
        value = fields_of(value, attrs.fields_dict(WorkerPermissions))
    if not isinstance(value, Mapping):
        return value
    for name, item in value.items():
        if name not in attrs.fields_dict(WorkerPermissions):
            raise unknown_name("option 'permissions'", name, attrs.fields_dict(WorkerPermissions))
        if not isinstance(item, bool):
            raise OptionsError(f"option 'permissions': {name} must be True or False, got {item!r}")
    return WorkerPermissions(**value)


_optional = attrs.validators.optional
_seconds = " (seconds)"


@helpful_init
@attrs.define(field_transformer=_check.take_texts)
class Options:
    """Options of a `WorkerJob`; names, order and defaults of the published client's `Options`.

    Raises `OptionsError` for an unknown name (it names the nearest right one) and for a value
    that cannot work, also when an attribute is set later. Times are in seconds. A text may stand
    for a number or a truth value; an empty one means that the option is not set.
    """

    executor_type: Any = attrs.field(
        default=ExecutorType.PROCESS, converter=_executor, validator=_check.instance(ExecutorType)
    )
    # Warm job processes that are kept ready.
    num_idle_processes: int = attrs.field(default=1, validator=_check.integer(0))
    # How long a job process may take to become ready.
    initialize_timeout: float = attrs.field(
        default=10.0, validator=_check.number(_seconds, above=0)
    )
    # How long a job may take to stop after it was asked to; its callbacks run inside it.
    close_timeout: float = attrs.field(default=60.0, validator=_check.number(_seconds))
    # Warn when a job uses more memory than this; 0 means never.
    memory_warn_mb: float = attrs.field(default=500.0, validator=_check.number(" (MB)"))
    # Fail a job that uses more memory than this; 0 means no limit.
    memory_limit_mb: float = attrs.field(default=0.0, validator=_check.number(" (MB)"))
    # The longest time between two status updates to the registry.
    ping_interval: float = attrs.field(default=30.0, validator=_check.number(_seconds, above=0))
    # Jobs at the same time, those included that are promised but not yet assigned.
    max_processes: int = attrs.field(default=1, validator=_check.integer(1))
    agent_id: str = attrs.field(default="VideoSDKAgent", validator=_check.text)
    # A token, or a function (sync or async) that returns a fresh one; None: the environment.
    auth_token: TokenSource | None = attrs.field(
        default=None, validator=_optional(_check.token), repr=False
    )
    permissions: WorkerPermissions = attrs.field(
        default=None, converter=_permissions, validator=_check.instance(WorkerPermissions)
    )
    # Attempts to reach the registry before the worker gives up; tries go on for at least as long as
    # the reference's schedule of that many (130 s for 16).
    max_retry: int = attrs.field(default=16, validator=_check.integer(0))
    # Refuse offers while `load_fnc` says more than this; without a `load_fnc`, slots alone bound.
    load_threshold: float = attrs.field(
        default=0.75, validator=_check.number("", above=0, maximum=1)
    )
    # True: serve a registry. False: run the entrypoint once, here and now.
    register: bool = attrs.field(default=False, validator=_check.boolean)
    # Host of the REST API, or a whole URL such as "http://127.0.0.1:8080".
    signaling_base_url: str = attrs.field(default="api.videosdk.live", validator=_check.text)
    # Where the worker shows itself (`/health` and the rest); port 0 picks a free one.
    host: str = attrs.field(default="0.0.0.0", validator=_check.text)
    port: int = attrs.field(default=8081, validator=_check.integer(0, 65535))
    log_level: str = attrs.field(
        default="INFO", converter=_upper, validator=_check.one_of(*LOG_LEVELS)
    )
    # The short grace: for EOF, for SIGTERM, and for everything after a second Ctrl-C. Not 0, for
    # it is also what a process has to exit in after its job's last word, before it is killed.
    termination_timeout: float = attrs.field(
        default=3.0, validator=_check.number(_seconds, above=0)
    )

    # Decides about an offer: JobRequest -> True/None, False or a reason; sync or async.
    request_fnc: RequestFnc | None = attrs.field(
        default=None, validator=_optional(_check.is_callable)
    )
    # How long `request_fnc` may take before the offer is refused.
    request_timeout: float = attrs.field(default=5.0, validator=_check.number(_seconds, above=0))
    # Runs in each job process before a job comes; what it stores in `process.userdata` stays.
    initialize_process_fnc: Callable[[Any], Any] | None = attrs.field(
        default=None, validator=_optional(_check.is_callable)
    )
    # How long running jobs may go on after SIGTERM.
    drain_timeout: float = attrs.field(default=3600.0, validator=_check.number(_seconds))
    # How long the registry may take to answer `register`.
    registration_timeout: float = attrs.field(
        default=10.0, validator=_check.number(_seconds, above=0)
    )
    # How long a slot is held for a job that was promised.
    assignment_timeout: float = attrs.field(default=7.5, validator=_check.number(_seconds, above=0))
    # How often the connection proves that it is alive.
    heartbeat_interval: float = attrs.field(
        default=15.0, validator=_check.number(_seconds, above=0)
    )
    # How often a running job's memory is looked at, and its event loop asked for a sign of life.
    health_interval: float = attrs.field(default=5.0, validator=_check.number(_seconds, above=0))
    # Warn when a job's event loop does not answer for this long; 0 means never.
    loop_warn_after: float = attrs.field(default=5.0, validator=_check.number(_seconds))
    # How long it takes until a job that uses much memory is warned about again.
    memory_warn_cooldown: float = attrs.field(default=300.0, validator=_check.number(_seconds))
    # How long a job may run; an assignment's own `timeout` wins. None: for ever.
    job_timeout: float | None = attrs.field(
        default=None, validator=_optional(_check.number(_seconds, above=0))
    )
    # How long each shutdown callback may take; the published client's limit for all of them.
    shutdown_callback_timeout: float = attrs.field(default=15.0, validator=_check.number(_seconds))
    # "http://user:password@host:port" or "socks5://..."; None: HTTPS_PROXY and NO_PROXY decide.
    http_proxy: str | None = attrs.field(default=None, validator=_optional(_check.text), repr=False)
    ssl_context: ssl.SSLContext | None = attrs.field(
        default=None, validator=_optional(_check.instance(ssl.SSLContext)), repr=False
    )
    # PEM file with the certificate authorities to trust, instead of `ssl_context`.
    ca_file: str | None = attrs.field(default=None, validator=_optional(_check.text))
    # The registry's own URL, when it is known: skips asking the REST API for it.
    backend_url: str | None = attrs.field(default=None, validator=_optional(_check.text))
    # The load from 0 to 1, called at each offer, so it must not block.
    load_fnc: Callable[[], float] | None = attrs.field(
        default=None, validator=_optional(_check.is_callable)
    )
    # How the log looks: "console" for a person, "json" for a program, "auto": what stderr is.
    log_format: LogFormat = attrs.field(  # pyright: ignore[reportAssignmentType]  # as below
        default="auto", validator=_check.one_of("auto", "console", "json")
    )
    # The status words that the worker sends: see `protocol.vocabulary`.
    # (pyright widens the default's type from the literal to `str`)
    status_vocabulary: VocabularyName = attrs.field(  # pyright: ignore[reportAssignmentType]
        default="deployed", validator=_check.one_of("deployed", "documented")
    )
    # Where to remember jobs across a crash of the worker; None: nowhere. See `journal`.
    state_dir: str | None = attrs.field(
        default=None, converter=_path, validator=_optional(_check.text)
    )
    # How job processes come to be. "spawn": a fresh interpreter for each. "forkserver": copies of a
    # template that has loaded the entrypoint's module already. "auto": the template, where nothing
    # is seen that a fork would break.
    # (pyright widens the default's type from the literal to `str`)
    start_method: StartMethod = attrs.field(  # pyright: ignore[reportAssignmentType]
        default="auto", validator=_check.one_of("auto", "spawn", "forkserver")
    )
    # Modules that the template imports as well; several in one text are separated by commas.
    preload: str | Sequence[str] = attrs.field(
        default=(), converter=_names, validator=_check.module_names
    )

    # The token that other machines need for status routes with jobs; None: they are refused.
    debug_token: str | None = attrs.field(
        default=None, validator=_optional(_check.secret_word), repr=False
    )

    # One OpenTelemetry trace for each job; None: where the OTEL_* environment asks for it.
    traces: bool | None = attrs.field(default=None, validator=_optional(_check.boolean))

    def __attrs_post_init__(self) -> None:
        self._check_trust()

    def _check_trust(self) -> None:
        if self.ssl_context is not None and self.ca_file is not None:
            raise OptionsError("options 'ssl_context' and 'ca_file' exclude each other; give one")

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **overrides: Any) -> Options:
        """Options from `VSDK_TRIO_*` variables, such as `VSDK_TRIO_MAX_PROCESSES=4`.

        `VSDK_TRIO_REGISTRY_URL` says where the registry is; `_registry_address` has the rule. What
        Kubernetes sets for a Service with such a name is left out.

        Args:
            environ: the variables to read; None: the process's own.
            overrides: options that win over the environment.

        Raises:
            OptionsError: for a variable with our prefix that names no option, and for a value that
                cannot be read.
        """
        environ = os.environ if environ is None else environ
        with ends_in_one_line():
            values = environment_values(cls, environ) | overrides
            given = AddressSource("the arguments", options=overrides)
            values |= address_options(given, AddressSource.of_environment(environ))
        return cls(**values)

    @classmethod
    def taken_over(cls, value: object) -> Options:
        """`value` itself, or options with the fields of the published package's `Options`.

        Raises `OptionsError` for anything else, and for a field's value that cannot work.
        """
        if isinstance(value, Options):
            return value
        if not is_published(value, "Options"):
            raise OptionsError(
                f"options must be vsdk_trio.Options, got {described(value)}; "
                "write options=Options(...) with `from vsdk_trio import Options`"
            )
        given = fields_of(value, attrs.fields_dict(Options))
        token = given.get("auth_token")
        given["auth_token"] = None if not token or has_signed(token) else token
        return Options(**given)

    def tls_context(self) -> ssl.SSLContext | None:
        """The TLS context to connect with: `ssl_context`, one that trusts `ca_file`, or None.

        Raises `OptionsError` when `ca_file` cannot be read, or both are set by now.
        """
        self._check_trust()
        if self.ca_file is None:
            return self.ssl_context
        try:
            return ssl.create_default_context(cafile=self.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise OptionsError(f"option 'ca_file': cannot use {self.ca_file!r}: {error}") from error


@helpful_init
@attrs.define(kw_only=True, field_transformer=_check.take_texts)
class WorkerOptions(Options):
    """Options of a `Worker` used without a `WorkerJob`; the published client's other defaults."""

    entrypoint_fnc: Callable[..., Any] = attrs.field(validator=_check.is_callable)
    num_idle_processes: int = attrs.field(default=2, validator=_check.integer(0))
    max_processes: int = attrs.field(default=10, validator=_check.integer(1))
    worker_type: WorkerType = attrs.field(default=WorkerType.ROOM, converter=WorkerType)
