"""Options: names, defaults and errors of `vsdk_trio.options`."""

from __future__ import annotations

import operator
import ssl
from pathlib import Path
from typing import Any

import attrs
import pytest

from vsdk_trio.errors import OptionsError
from vsdk_trio.load import CpuLoad
from vsdk_trio.options.environment import text_options
from vsdk_trio.options.worker import (
    ExecutorType,
    Options,
    WorkerOptions,
    WorkerPermissions,
    WorkerType,
)

PUBLISHED = {
    "num_idle_processes": 1,
    "initialize_timeout": 10.0,
    "close_timeout": 60.0,
    "memory_warn_mb": 500.0,
    "memory_limit_mb": 0.0,
    "ping_interval": 30.0,
    "max_processes": 1,
    "agent_id": "VideoSDKAgent",
    "auth_token": None,
    "max_retry": 16,
    "load_threshold": 0.75,
    "register": False,
    "signaling_base_url": "api.videosdk.live",
    "host": "0.0.0.0",
    "port": 8081,
    "log_level": "INFO",
    "termination_timeout": 3.0,
}
OURS = {
    "drain_timeout": 3600.0,
    "registration_timeout": 10.0,
    "assignment_timeout": 7.5,
    "heartbeat_interval": 15.0,
    "job_timeout": None,
    "shutdown_callback_timeout": 15.0,
    "request_timeout": 5.0,
    "status_vocabulary": "deployed",
    "start_method": "auto",
    "preload": (),
    "state_dir": None,
    "backend_url": None,
    "http_proxy": None,
    "debug_token": None,
}


@pytest.mark.parametrize(("name", "value"), [*PUBLISHED.items(), *OURS.items()])
def test_defaults(name: str, value: object) -> None:
    assert getattr(Options(), name) == value


def test_worker_options_have_the_published_clients_other_defaults() -> None:
    options = WorkerOptions(entrypoint_fnc=print)
    assert (options.num_idle_processes, options.max_processes) == (2, 10)
    assert options.worker_type is WorkerType.ROOM
    assert options.entrypoint_fnc is print


def test_an_unknown_option_names_the_nearest() -> None:
    with pytest.raises(
        OptionsError, match="no option 'max_proceses'; did you mean 'max_processes'"
    ):
        Options(max_proceses=3)  # type: ignore[call-arg]  # the mistake under test
    with pytest.raises(
        OptionsError,
        match="WorkerOptions has no option 'entrypoint'; did you mean 'entrypoint_fnc'",
    ):
        WorkerOptions(entrypoint=print)  # type: ignore[call-arg]  # the mistake under test


def test_an_option_unlike_any_other_gets_no_guess() -> None:
    with pytest.raises(OptionsError) as error:
        Options(zzzz=3)  # type: ignore[call-arg]  # the mistake under test
    assert str(error.value) == "Options has no option 'zzzz'"


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("max_processes", 0, "an integer of at least 1, got 0"),
        ("max_processes", True, "an integer"),
        ("max_processes", "three", "an integer of at least 1, got 'three'"),
        ("max_processes", "2.5", "an integer"),
        ("port", 70000, "an integer from 0 to 65535"),
        ("num_idle_processes", -1, "at least 0"),
        ("close_timeout", -1, "a number of at least 0 (seconds)"),
        ("close_timeout", float("nan"), "a number"),
        ("close_timeout", True, "a number"),
        ("initialize_timeout", 0, "above 0"),
        ("load_threshold", 1.5, "above 0 and at most 1"),
        ("job_timeout", "soon", "a number above 0 (seconds)"),
        ("agent_id", None, "not empty"),
        ("register", "perhaps", "True or False, got 'perhaps'"),
        ("register", 1, "True or False"),
        ("log_level", "LOUD", "one of 'DEBUG'"),
        ("status_vocabulary", "own", "'deployed', 'documented'"),
        ("start_method", "fork", "one of 'auto', 'spawn', 'forkserver'"),
        ("preload", ["not a name"], "names of modules"),
        ("preload", [3], "names of modules"),
        ("preload", None, "names of modules"),
        ("request_fnc", 3, "callable"),
        ("permissions", 3, "a WorkerPermissions"),
        ("ssl_context", "ca.pem", "a SSLContext"),
        ("termination_timeout", 0, "above 0"),
        ("state_dir", 3, "a text"),
        ("executor_type", "thread", "knows only 'process'"),
        ("executor_type", "fibre", "a ExecutorType"),
        ("auth_token", 7, "got int"),
    ],
)
def test_a_wrong_value_is_one_clear_error(option: str, value: object, said: str) -> None:
    arguments: dict[str, Any] = {option: value}
    with pytest.raises(OptionsError) as error:
        Options(**arguments)
    assert option in str(error.value)
    assert said in str(error.value)


def test_values_are_checked_when_set_later() -> None:
    options = Options()
    with pytest.raises(OptionsError, match="max_processes"):
        options.max_processes = 0
    assert options.max_processes == 1


def test_positional_order_is_the_published_clients() -> None:
    assert Options(None, 4, 2.0).num_idle_processes == 4


@pytest.mark.parametrize("value", [None, "process", "PROCESS", ExecutorType.PROCESS])
def test_the_process_executor_by_any_name(value: object) -> None:
    assert Options(executor_type=value).executor_type is ExecutorType.PROCESS


def test_a_log_level_in_small_letters() -> None:
    assert Options(log_level="debug").log_level == "DEBUG"


def test_a_state_directory_may_be_a_path() -> None:
    assert Options(state_dir=Path("/var/lib/agent")).state_dir == "/var/lib/agent"


def test_secrets_are_not_shown() -> None:
    proxy = "http://user:s3cr3t@proxy:1"
    shown = repr(Options(auth_token="s3cr3t", debug_token="s3cr3t", http_proxy=proxy))
    assert "s3cr3t" not in shown


@pytest.mark.parametrize("wrong", ["s3cr3t s3cr3t", "s3cr3té", 7])
def test_a_debug_token_must_fit_into_a_header(wrong: object) -> None:
    with pytest.raises(OptionsError, match="'debug_token' must be a text of letters") as info:
        Options(debug_token=wrong)  # type: ignore[arg-type]  # that is what is tested
    assert "s3cr3t" not in str(info.value)


def test_from_env_reads_every_kind() -> None:
    environ = {
        "VSDK_TRIO_MAX_PROCESSES": "4",
        "VSDK_TRIO_REGISTER": "true",
        "VSDK_TRIO_CLOSE_TIMEOUT": "2.5",
        "VSDK_TRIO_AGENT_ID": "from-env",
        "VSDK_TRIO_JOB_TIMEOUT": "60",
        "VSDK_TRIO_STATE_DIR": "/var/lib/agent",
        "VSDK_TRIO_PERMISSIONS": '{"hidden": true}',
        "VSDK_TRIO_LOAD_FNC": "vsdk_trio.load:CpuLoad",
        "VSDK_TRIO_REQUEST_FNC": "operator:truth",
        "VSDK_TRIO_TRANSPORT": "loopback",
        "VSDK_TRIO_REGISTRY_URL": "http://127.0.0.1:8080",
        "OTHER": "x",
    }
    options = Options.from_env(environ, agent_id="given")
    assert (options.max_processes, options.register, options.close_timeout) == (4, True, 2.5)
    assert (options.agent_id, options.job_timeout) == ("given", 60.0)
    assert options.state_dir == "/var/lib/agent"
    assert options.permissions == WorkerPermissions(hidden=True)
    assert isinstance(options.load_fnc, CpuLoad)
    assert options.request_fnc is operator.truth


def test_every_option_but_one_can_be_given_as_a_text() -> None:
    names = {field.name for field in attrs.fields(Options)}
    assert names - text_options(Options).keys() == {"ssl_context"}
    worker_names = {field.name for field in attrs.fields(WorkerOptions)}
    assert worker_names - text_options(WorkerOptions).keys() == {"ssl_context"}


def test_from_env_reads_the_process_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VSDK_TRIO_PORT", "0")
    assert Options.from_env().port == 0


@pytest.mark.parametrize(
    ("variable", "text", "said"),
    [
        ("VSDK_TRIO_MAX_PROCESES", "4", "did you mean 'VSDK_TRIO_MAX_PROCESSES'"),
        ("VSDK_TRIO_MAX_PROCESSES", "four", "VSDK_TRIO_MAX_PROCESSES must be a number"),
        ("VSDK_TRIO_REGISTER", "perhaps", "VSDK_TRIO_REGISTER must be true or false"),
        ("VSDK_TRIO_REQUEST_FNC", "f", "must name a function as package.module:function, got 'f'"),
        ("VSDK_TRIO_LOAD_FNC", "no_such.module:f", "No module named 'no_such'"),
        ("VSDK_TRIO_PERMISSIONS", "{", "must be a JSON object"),
        ("VSDK_TRIO_PERMISSIONS", "[]", "must be a JSON object, got '[]'"),
        ("VSDK_TRIO_PERMISSIONS", '{"hiden": true}', "did you mean 'hidden'"),
        ("VSDK_TRIO_PERMISSIONS", '{"hidden": 1}', "hidden must be True or False, got 1"),
        ("VSDK_TRIO_SSL_CONTEXT", "x", "no option 'VSDK_TRIO_SSL_CONTEXT'"),
    ],
)
def test_from_env_explains_what_it_cannot_read(variable: str, text: str, said: str) -> None:
    with pytest.raises(OptionsError) as error:
        Options.from_env({variable: text})
    assert said in str(error.value)


def test_tls_options() -> None:
    context = ssl.create_default_context()
    assert Options(ssl_context=context).tls_context() is context
    assert Options().tls_context() is None
    with pytest.raises(OptionsError, match="cannot use '/nowhere"):
        Options(ca_file="/nowhere/ca.pem").tls_context()
    with pytest.raises(OptionsError, match="exclude each other"):
        Options(ca_file="/nowhere/ca.pem", ssl_context=context)
    options = Options(ssl_context=context)
    options.ca_file = "/nowhere/ca.pem"
    with pytest.raises(OptionsError, match="exclude each other"):
        options.tls_context()


def test_a_ca_file_is_trusted(tmp_path: Any) -> None:
    import trustme

    path = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    context = Options(ca_file=str(path)).tls_context()
    assert context is not None
    assert len(context.get_ca_certs()) == 1


def test_permissions_default() -> None:
    assert Options().permissions == WorkerPermissions(True, True, True, True, False)
