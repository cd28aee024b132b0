"""How the components of a worker are made from its options: plain functions, nothing runs yet."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

from ..backend.connection import BackendConnection
from ..backend.token import TokenProvider
from ..control.frames import Hello, Ready
from ..errors import OptionsError
from ..forkserver.orders import Brief
from ..forkserver.spawner import Forkserver, missing_for_forking
from ..forkserver.template import TemplateSettings
from ..jobs.prewarm import Prewarm
from ..options.worker import Options
from ..processes.guardian import Guardian
from ..processes.orphans import Sweeper
from ..processes.pool import Pool, PoolSettings
from ..processes.program import command_line
from ..processes.stop_ladder import Graces
from ..protocol.messages import WireMessage
from ..protocol.vocabulary import vocabulary
from ..telemetry.events import Observe
from ..telemetry.logs.loggers import get_logger
from .engine import EngineSettings
from .environment import WorkerEnvironment
from .health_watch import HealthRules
from .start_message import Agent

logger = get_logger(__name__)

# How long the last messages may take to be delivered, and acknowledged.
FLUSH_SECONDS = 5.0


def engine_settings(options: Options) -> EngineSettings:
    """The terms on which the worker takes and runs jobs."""
    return EngineSettings(
        agent_id=options.agent_id,
        vocabulary=vocabulary(options.status_vocabulary),
        max_processes=options.max_processes,
        load_threshold=options.load_threshold,
        asks_request_fnc=options.request_fnc is not None,
        assignment_timeout=options.assignment_timeout,
        job_timeout=options.job_timeout,
        ping_interval=options.ping_interval,
    )


def health_rules(options: Options) -> HealthRules:
    """When and how running jobs are watched."""
    return HealthRules(
        interval=options.health_interval,
        loop_warn_after=options.loop_warn_after,
        memory_warn_mb=options.memory_warn_mb,
        memory_limit_mb=options.memory_limit_mb,
        memory_warn_cooldown=options.memory_warn_cooldown,
    )


def make_connection(
    options: Options,
    environment: WorkerEnvironment,
    *,
    worker_id: str,
    announce: Callable[[], Sequence[WireMessage]],
    give_up: Callable[[Exception], bool],
    on_acknowledged: Callable[[WireMessage], None],
    observe: Observe,
    hold: Callable[[], Awaitable[object]],
) -> BackendConnection:
    """The connection to the registry; see `BackendConnection` for its callbacks."""
    return BackendConnection(
        TokenProvider(options.auth_token),
        options.agent_id,
        max_retry=options.max_retry,
        http_proxy=options.http_proxy,
        backend_url=options.backend_url,
        load_threshold=options.load_threshold,
        max_processes=options.max_processes,
        signaling_base_url=options.signaling_base_url,
        ssl_context=options.tls_context(),
        registration_timeout=options.registration_timeout,
        heartbeat_interval=options.heartbeat_interval,
        flush_timeout=FLUSH_SECONDS,
        dialer=environment.dialer,
        rng=environment.rng,
        worker_id=worker_id,
        announce=announce,
        give_up=give_up,
        on_acknowledged=on_acknowledged,
        observe=observe,
        hold=hold,
    )


def make_forkserver(
    options: Options,
    agent: Agent,
    environment: WorkerEnvironment,
    *,
    cookie_prefix: str,
    guardian: Guardian | None,
) -> Forkserver | None:
    """The forkserver, where one is asked for and possible."""
    if options.start_method == "spawn" or not environment.is_real:
        return None
    is_demanded = options.start_method == "forkserver"
    if (missing := missing_for_forking()) is not None:
        if is_demanded:
            raise OptionsError(
                f"option 'start_method' cannot be 'forkserver' here: {missing}; use 'auto'"
            )
        logger.info("job processes are started afresh and not forked: %s", missing)
        return None
    settings = TemplateSettings(
        argv=command_line("vsdk_trio.forkserver.program"),
        brief=Brief(
            entrypoint=agent.entrypoint.to_dict(),
            initialize=None if agent.initialize is None else agent.initialize.to_dict(),
            preload=list(options.preload),
            log_level=options.log_level,
            cautious=not is_demanded,
        ),
        load_seconds=options.initialize_timeout,
    )
    return Forkserver(
        settings,
        environment.spawner,
        cookie_prefix=cookie_prefix,
        guardian=guardian,
        log_level=logging.WARNING if is_demanded else logging.INFO,
    )


def make_pool(
    options: Options,
    environment: WorkerEnvironment,
    *,
    forkserver: Forkserver | None,
    guardian: Guardian | None,
    sweeper: Sweeper | None,
    make_hello: Callable[[str], Hello],
    on_ready: Callable[[Ready], None],
    cookie_prefix: str,
    graces: Graces,
    observe: Observe,
) -> Pool:
    """The pool of job processes."""
    settings = PoolSettings(
        argv=command_line("vsdk_trio.runner"),
        cookie_prefix=cookie_prefix,
        initialize_timeout=options.initialize_timeout,
    )
    return Pool(
        forkserver or environment.spawner,
        make_hello,
        settings,
        Prewarm(
            num_idle=options.num_idle_processes,
            max_processes=options.max_processes,
            max_refills=max(2, environment.processors),
            max_starting=max(4, 2 * environment.processors),
        ),
        graces=graces,
        guardian=guardian,
        sweeper=sweeper,
        on_ready=on_ready,
        observe=observe,
    )
