"""The first messages to a job process: what it is for, and later its job.

Knows the frames and the assignment; not when a message is sent, or to which process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from ..backend.urls import answered_room_api
from ..control.frames import Hello, JobInfo, Ready
from ..errors import ConnectError, OptionsError
from ..jobs.entrypoint import EntrypointRef
from ..options.room import RoomOptions
from ..options.worker import Options
from ..protocol.messages import JobAssignment
from ..telemetry.logs.loggers import get_logger

logger = get_logger(__name__)

# Names come from the registry: what is remembered of them is bounded.
MAX_REPORTED_NAMES = 100


@attrs.frozen(kw_only=True)
class Agent:
    """What a worker runs: the entrypoint, and what every job starts from."""

    entrypoint: EntrypointRef
    initialize: EntrypointRef | None
    room_options: RoomOptions
    metadata: Mapping[str, Any]


class StartMessages:
    """Makes the frames that every job process of a worker gets.

    Args:
        worker_id: Called for each job, because a new session may change it.
        token: The same for the worker's token, for jobs that come without one.
        traces: Whether jobs come with a trace.
    """

    def __init__(
        self,
        options: Options,
        agent: Agent,
        *,
        worker_id: Callable[[], str],
        token: Callable[[], str],
        traces: bool,
    ) -> None:
        self._traces = traces
        self._options = options
        self._agent = agent
        self._worker_id = worker_id
        self._token = token
        self._entrypoint = agent.entrypoint.to_dict()
        self._initialize = None if agent.initialize is None else agent.initialize.to_dict()
        self._permissions = attrs.asdict(options.permissions)
        self._default_wire = agent.room_options.changes_to_wire()
        _, self._left_behind = agent.room_options.to_wire()
        self._reported_names: set[str] = set()
        self._warned_of_fields = False

    def hello(self, cookie: str) -> Hello:
        """The first frame for a new process."""
        options = self._options
        return Hello(
            entrypoint=self._entrypoint,
            initialize=self._initialize,
            cookie=cookie,
            traces=self._traces,
            live_options=bool(self._left_behind),
            agent_id=options.agent_id,
            log_level=options.log_level,
            shutdown_callback_timeout=options.shutdown_callback_timeout,
        )

    def check_what_arrives(self, ready: Ready) -> None:
        """Say once which room options stay behind: they are live objects, and cannot be sent.

        They arrive all the same where the script, loaded by the job process, builds its
        `WorkerJob` there again: that one's context is looked at then.
        """
        if self._left_behind and not ready.recorded and not self._warned_of_fields:
            self._warned_of_fields = True
            logger.warning(
                "RoomOptions.%s will not reach the jobs: live objects cannot be sent; set them in "
                "the entrypoint, or build the WorkerJob at the top level of the script",
                ", ".join(self._left_behind),
            )

    def describe_job(self, assignment: JobAssignment) -> JobInfo:
        """The job, as its process gets it.

        Raises `OptionsError` for room options that cannot be used: of a wrong type, or an API of
        rooms to which the job would send its token in plain text.
        """
        defaults, overlay = self._agent.room_options, self._kept_on_tls(assignment.room_options)
        wire = dict(self._default_wire)
        if overlay and (unknown := defaults.merge_on_wire(wire, overlay)):
            self._report(unknown)
        if assignment.room_id:
            wire["room_id"] = assignment.room_id
        return JobInfo(
            job_id=assignment.job_id,
            room_id=assignment.room_id,
            room_name=assignment.room_name,
            job_type=assignment.job_type,
            agent_id=self._options.agent_id,
            namespace=assignment.namespace,
            worker_id=self._worker_id(),
            url=assignment.url,
            token=(
                assignment.token
                or overlay.get("auth_token")
                or defaults.auth_token
                or self._token()
            ),
            room_options=wire,
            metadata={**self._agent.metadata, **(assignment.metadata or {})},
            permissions=self._permissions,
            wait=assignment.wait,
        )

    def _kept_on_tls(self, assigned: Mapping[str, Any] | None) -> Mapping[str, Any]:
        """The room options that the registry has assigned; with TLS if it has TLS itself."""
        assigned = assigned or {}
        named = assigned.get("signaling_base_url")
        if not isinstance(named, str) or not named:
            return assigned
        options = self._options
        try:
            kept = answered_room_api(options.backend_url or options.signaling_base_url, named)
        except ConnectError as error:
            raise OptionsError(f"room option 'signaling_base_url': {error}") from None
        return {**assigned, "signaling_base_url": kept}

    def _report(self, names: tuple[str, ...]) -> None:
        """Say once of each room option that it is not known here."""
        for name in sorted({*names} - self._reported_names):
            if len(self._reported_names) < MAX_REPORTED_NAMES:
                self._reported_names.add(name)
                logger.warning("the registry sends an unknown room option: %r", name[:100])
