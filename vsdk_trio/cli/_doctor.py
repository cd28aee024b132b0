"""The doctor: every step of a worker's way to its registration, in order.

Knows the order, and what each answer of a registry means; the steps to a host, the token and the
printing are elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .. import __version__
from ..backend.api import RegistryApi, is_refusal
from ..backend.dialer import Dialer
from ..backend.opening import Registration, SessionOpener
from ..backend.token import PeerClock
from ..backend.urls import agent_url, api_base
from ..backend.websocket import ConnectRejected, open_link
from ..errors import ApiError, ConnectError, RegistrationRefusedError
from ..options.worker import Options
from ..system.stopping import ExitCode
from ._agent import agent_job, chosen_options
from ._client import run
from ._doctor_checks import (
    Finding,
    HeldToken,
    StepFailed,
    Verdict,
    Way,
    examine_token,
    print_finding,
    print_findings_json,
)

AGENT_NAME: Final = "vsdk-trio-doctor"
"""What it registers as: no job is dispatched to an agent of this name."""

_REFUSED: Final = "the registry does not want this token: is it of the right project, and valid?"
_CLOCKS: Final = (
    "set the clock of this machine (NTP); a worker that makes its own tokens allows for up to a day"
)
_UNKNOWN: Final = (
    "is this the address of a VideoSDK registry? signaling_base_url is the REST API, backend_url "
    "the registry itself"
)


def examine_and_say(
    agent: str | None,
    given: Mapping[str, Any],
    *,
    registry: str | None,
    seconds: float,
    as_json: bool,
) -> ExitCode:
    """Take every step and say how each went; returns the exit code of the program.

    Args:
        agent: whose options to use; None: those of the environment.
        given: options that flags have given.
        registry: the address that `--registry` has given.
        seconds: the longest time for each step.
        as_json: print one JSON document at the end, and nothing before.

    Raises:
        CommandError: for an agent that cannot be found or loaded.
        OptionsError: for a value that cannot work.
    """
    options = _options(agent, given, registry)
    findings: list[Finding] = []

    def report(finding: Finding) -> None:
        findings.append(finding)
        if not as_json:
            print_finding(finding)

    way = Way(
        http_proxy=options.http_proxy,
        ssl_context=options.tls_context(),
        seconds=seconds,
        report=report,
    )
    run(_examine, options, way)
    failed = [finding.step for finding in findings if finding.verdict is Verdict.FAILED]
    if as_json:
        print_findings_json(findings)
    elif failed:
        print(f"\nnot well: {', '.join(failed)}")
    else:
        print("\nall is well: a worker can register from here")
    return ExitCode.ERROR if failed else ExitCode.CLEAN


async def _examine(options: Options, way: Way) -> None:
    finding, token = await examine_token(options)
    clocks = {"API": PeerClock(), "registry": PeerClock()}
    way.report(finding)
    try:
        url = await _find_registry(way, options, token, clocks["API"])
        await _try_registry(way, url, token, clocks["registry"])
    except StepFailed:
        way.report(Finding("the rest", Verdict.SKIPPED, "it stands on what has failed"))
    for name, clock in clocks.items():
        if clock.is_off:
            way.report(Finding(f"{name} clock", Verdict.WARNING, str(clock), _CLOCKS))
        elif clock.is_known:
            way.ok(f"{name} clock", "as this machine's")


def _options(agent: str | None, given: Mapping[str, Any], registry: str | None) -> Options:
    if agent is not None:
        return agent_job(agent, given, registry=registry).options
    return Options(**chosen_options(Options, given, registry))


async def _find_registry(
    way: Way, options: Options, token: HeldToken | None, clock: PeerClock
) -> str:
    """Where the registry is, from the REST API, or as the options say."""
    if options.backend_url:
        way.report(Finding("init-config", Verdict.SKIPPED, "backend_url says where to go"))
        return options.backend_url
    try:
        base = api_base(options.signaling_base_url)
    except ConnectError as error:
        way.fail("API address", f"{options.signaling_base_url!r}: {error}", _UNKNOWN)
        raise StepFailed from None
    dialer = await way.go("API", base)
    if token is None:
        raise StepFailed("token")
    api = RegistryApi(options.signaling_base_url, lambda _: dialer, way.ssl_context, clock.note)

    async def ask() -> str:
        try:
            return await api.init_config(token.value)
        except ApiError as error:
            refused = is_refusal(error)
            if refused and await token.try_another(ahead_seconds=clock.ahead_seconds):
                return await ask()
            way.fail("init-config", str(error), _refused(clock) if refused else _UNKNOWN)
            raise StepFailed from None

    slow = "something listens there, but does not answer: is it the right port?"
    url = await way.step("init-config", ask, advice=_UNKNOWN, slow=slow)
    way.ok("init-config", f"the registry is {url}")
    return url


async def _try_registry(
    way: Way, registry_url: str, token: HeldToken | None, clock: PeerClock
) -> None:
    """The way to the registry itself, the WebSocket, and a registration."""
    try:
        url = agent_url(registry_url)
    except ConnectError as error:
        way.fail("registry address", f"{registry_url!r}: {error}", _UNKNOWN)
        raise StepFailed from None
    dialer = await way.go("registry", url)
    if token is None:
        raise StepFailed("token")
    await _upgrade(way, url, dialer, token, clock)
    await _register(way, registry_url, dialer, token, clock)


def _refused(clock: PeerClock) -> str:
    return f"{clock}: is the token valid by that one? {_CLOCKS}" if clock.is_off else _REFUSED


async def _upgrade(way: Way, url: str, dialer: Dialer, token: HeldToken, clock: PeerClock) -> None:
    async def upgrade() -> None:
        try:
            async with open_link(
                url,
                dialer=dialer,
                headers={"Authorization": f"Bearer {token.value}"},
                ssl_context=way.ssl_context,
                connect_timeout=way.seconds,
                note_date=clock.note,
            ):
                pass
        except ConnectRejected as error:
            refused = error.status in (401, 403)
            if refused and await token.try_another(ahead_seconds=clock.ahead_seconds):
                return await upgrade()
            way.fail("WebSocket", str(error), _refused(clock) if refused else _UNKNOWN)
            raise StepFailed from None

    advice = "does a proxy or a gateway on the way keep WebSockets out?"
    await way.step("WebSocket", upgrade, advice=advice)
    way.ok("WebSocket", url)


async def _register(
    way: Way, registry_url: str, dialer: Dialer, token: HeldToken, clock: PeerClock
) -> None:
    opener = SessionOpener(
        backend_url=registry_url,
        signaling_base_url="",
        http_proxy=None,
        dialer=dialer,
        ssl_context=way.ssl_context,
        connect_timeout=way.seconds,
        registration_timeout=way.seconds,
        registration=Registration(
            agent_name=AGENT_NAME, version=__version__, load_threshold=0.75, max_processes=1
        ),
    )

    async def register() -> str:
        try:
            async with opener.open_session(token.value, "", lambda _: None) as (_, _, registered):
                return registered.worker_id
        except RegistrationRefusedError as error:
            if await token.try_another(ahead_seconds=clock.ahead_seconds):
                return await register()
            way.fail("registration", str(error), _refused(clock))
            raise StepFailed from None

    slow = "it takes WebSockets, but does not answer a worker: is it the worker endpoint?"
    worker_id = await way.step("registration", register, advice=slow, slow=slow)
    text = f"as {AGENT_NAME!r} (no job can come), got the id {worker_id}, and left"
    way.ok("registration", text)
