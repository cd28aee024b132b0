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

    A value is checked when it is set, and when an attribute is set later. A text may stand for a
    number or a truth value; an empty one means that the option is not set.

    Args:
        executor_type: How jobs are executed. Only "process" is known: a job in a thread could not
            be stopped when it blocks.
        num_idle_processes: How many idle job processes are kept ready.
        initialize_timeout: How long a job process may take to become ready. In seconds.
        close_timeout: How long a job may take to stop. In seconds, from the request to stop; its
            shutdown callbacks run inside it.
        memory_warn_mb: Warn when a job uses more memory than this; 0: never. In MB.
        memory_limit_mb: Kill a job that uses more memory than this; 0: no limit. In MB.
        ping_interval: The longest time between two reports of the worker's status. In seconds.
        max_processes: How many jobs may run at the same time. Accepted offers that are not yet
            assigned count as well.
        agent_id: The name that jobs are dispatched to.
        auth_token: The token for the registry. A text, or a function, sync or async, that returns a
            fresh one; None: the environment has it.
        permissions: What the agent may do in its room: a JSON object of true and false.
        max_retry: Attempts to reach the registry before giving up. Attempts go on for at least as
            long as the reference's schedule of that many: 130 s for 16.
        load_threshold: Refuse offers while the load is above this. Without a `load_fnc`, the number
            of jobs alone is the bound.
        register: Serve a registry, or run the entrypoint once.
        signaling_base_url: The REST API: a host, or a whole URL. For example
            "http://127.0.0.1:8080".
        host: The address of the worker's HTTP server. It serves probes, metrics and pages.
        port: The port of the worker's HTTP server; 0 takes a free one.
        log_level: The lowest level that is logged.
        termination_timeout: The wait before SIGKILL, and after a second Ctrl-C. In seconds: for
            EOF, for SIGTERM, and for a process to exit after its job's last word. Not 0.
        request_fnc: A function that accepts or refuses each offer. It is called with a
            `JobRequest`, sync or async; True or None accepts, False or a reason refuses.
        request_timeout: The longest time for that decision. In seconds; after that the offer is
            refused.
        initialize_process_fnc: A function that runs in each job process before its job arrives.
            What it stores in `process.userdata` is there for the job.
        drain_timeout: How long running jobs may go on after SIGTERM. In seconds.
        registration_timeout: The longest time for a registration. In seconds.
        assignment_timeout: How long a slot is kept for an accepted offer. In seconds.
        heartbeat_interval: How often the connection is checked by a ping. In seconds.
        health_interval: How often the memory and event loop of a job are checked. In seconds.
        loop_warn_after: Warn when a job blocks its event loop for this long; 0: never. In seconds.
        memory_warn_cooldown: The shortest time between two memory warnings of a job. In seconds.
        job_timeout: The longest time that a job may run. In seconds; the `timeout` of an assignment
            wins. None: no limit.
        shutdown_callback_timeout: How long each shutdown callback may take. In seconds. The
            published client has this limit for all of them together.
        http_proxy: A proxy for the connection to the registry. "http://user:password@host:port" or
            "socks5://..."; None: HTTPS_PROXY and NO_PROXY decide.
        ssl_context: The TLS context for the registry; None: one that trusts `ca_file`, or the
            system's authorities.
        ca_file: PEM file with the certificate authorities to trust. It takes the place of
            `ssl_context`.
        backend_url: The registry's own URL; skips asking the REST API for it.
        load_fnc: A function that returns the load, from 0 to 1, such as vsdk_trio.load:CpuLoad. It
            is called at each offer, so it must not block.
        log_format: The format of the log; auto: console on a terminal, else JSON.
        status_vocabulary: The status words that the worker sends. "deployed" or "documented": see
            `protocol.vocabulary`.
        state_dir: Directory of the journal, which keeps jobs across a crash of the worker. None:
            nowhere. See `journal`.
        start_method: How job processes are started. "spawn" starts an interpreter for each;
            "forkserver" forks a template that has loaded the agent; "auto" forks where nothing is
            seen that a fork would break.
        preload: Modules that the template process imports before it forks: a,b,c.
        debug_token: The token that other machines need for the worker's HTTP server. None: they are
            refused.
        traces: Trace each job with OpenTelemetry; OTEL_* variables configure it. None: where the
            OTEL_* environment asks for it.

    Raises:
        OptionsError: for an unknown name (it names the nearest right one), and for a value that
            cannot work.
    """

    executor_type: Any = attrs.field(
        default=ExecutorType.PROCESS, converter=_executor, validator=_check.instance(ExecutorType)
    )
    num_idle_processes: int = attrs.field(default=1, validator=_check.integer(0))
    initialize_timeout: float = attrs.field(
        default=10.0, validator=_check.number(_seconds, above=0)
    )
    close_timeout: float = attrs.field(default=60.0, validator=_check.number(_seconds))
    memory_warn_mb: float = attrs.field(default=500.0, validator=_check.number(" (MB)"))
    memory_limit_mb: float = attrs.field(default=0.0, validator=_check.number(" (MB)"))
    ping_interval: float = attrs.field(default=30.0, validator=_check.number(_seconds, above=0))
    max_processes: int = attrs.field(default=1, validator=_check.integer(1))
    agent_id: str = attrs.field(default="VideoSDKAgent", validator=_check.text)
    auth_token: TokenSource | None = attrs.field(
        default=None, validator=_optional(_check.token), repr=False
    )
    permissions: WorkerPermissions = attrs.field(
        default=None, converter=_permissions, validator=_check.instance(WorkerPermissions)
    )
    max_retry: int = attrs.field(default=16, validator=_check.integer(0))
    load_threshold: float = attrs.field(
        default=0.75, validator=_check.number("", above=0, maximum=1)
    )
    register: bool = attrs.field(default=False, validator=_check.boolean)
    signaling_base_url: str = attrs.field(default="api.videosdk.live", validator=_check.text)
    host: str = attrs.field(default="0.0.0.0", validator=_check.text)
    port: int = attrs.field(default=8081, validator=_check.integer(0, 65535))
    log_level: str = attrs.field(
        default="INFO", converter=_upper, validator=_check.one_of(*LOG_LEVELS)
    )
    termination_timeout: float = attrs.field(
        default=3.0, validator=_check.number(_seconds, above=0)
    )
    request_fnc: RequestFnc | None = attrs.field(
        default=None, validator=_optional(_check.is_callable)
    )
    request_timeout: float = attrs.field(default=5.0, validator=_check.number(_seconds, above=0))
    initialize_process_fnc: Callable[[Any], Any] | None = attrs.field(
        default=None, validator=_optional(_check.is_callable)
    )
    drain_timeout: float = attrs.field(default=3600.0, validator=_check.number(_seconds))
    registration_timeout: float = attrs.field(
        default=10.0, validator=_check.number(_seconds, above=0)
    )
    assignment_timeout: float = attrs.field(default=7.5, validator=_check.number(_seconds, above=0))
    heartbeat_interval: float = attrs.field(
        default=15.0, validator=_check.number(_seconds, above=0)
    )
    health_interval: float = attrs.field(default=5.0, validator=_check.number(_seconds, above=0))
    loop_warn_after: float = attrs.field(default=5.0, validator=_check.number(_seconds))
    memory_warn_cooldown: float = attrs.field(default=300.0, validator=_check.number(_seconds))
    job_timeout: float | None = attrs.field(
        default=None, validator=_optional(_check.number(_seconds, above=0))
    )
    shutdown_callback_timeout: float = attrs.field(default=15.0, validator=_check.number(_seconds))
    http_proxy: str | None = attrs.field(default=None, validator=_optional(_check.text), repr=False)
    ssl_context: ssl.SSLContext | None = attrs.field(
        default=None, validator=_optional(_check.instance(ssl.SSLContext)), repr=False
    )
    ca_file: str | None = attrs.field(default=None, validator=_optional(_check.text))
    backend_url: str | None = attrs.field(default=None, validator=_optional(_check.text))
    load_fnc: Callable[[], float] | None = attrs.field(
        default=None, validator=_optional(_check.is_callable)
    )
    log_format: LogFormat = attrs.field(  # pyright: ignore[reportAssignmentType]  # as below
        default="auto", validator=_check.one_of("auto", "console", "json")
    )
    # (pyright widens the default's type from the literal to `str`)
    status_vocabulary: VocabularyName = attrs.field(  # pyright: ignore[reportAssignmentType]
        default="deployed", validator=_check.one_of("deployed", "documented")
    )
    state_dir: str | None = attrs.field(
        default=None, converter=_path, validator=_optional(_check.text)
    )
    # (pyright widens the default's type from the literal to `str`)
    start_method: StartMethod = attrs.field(  # pyright: ignore[reportAssignmentType]
        default="auto", validator=_check.one_of("auto", "spawn", "forkserver")
    )
    preload: str | Sequence[str] = attrs.field(
        default=(), converter=_names, validator=_check.module_names
    )
    debug_token: str | None = attrs.field(
        default=None, validator=_optional(_check.secret_word), repr=False
    )
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
