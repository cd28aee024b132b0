"""The rules for options and variables, as docs/command-line.md has them, without a program."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsdk_trio.errors import OptionsError
from vsdk_trio.options.environment import (
    OLDER_NAMES,
    AddressSource,
    address_options,
    rest_address,
    service_links,
    text_options,
)
from vsdk_trio.options.worker import Options, WorkerOptions

TEXTS = text_options(Options)
HOSTED = "api.videosdk.live"


def links_of(service: str, port: int = 8081, protocol: str = "TCP") -> dict[str, str]:
    """What Kubernetes sets in each pod for a Service; `service` as it writes it in variables."""
    url = f"{protocol.lower()}://10.0.0.9:{port}"
    each = f"PORT_{port}_{protocol}"
    links = {
        "SERVICE_HOST": "10.0.0.9",
        "SERVICE_PORT": str(port),
        "SERVICE_PORT_STATUS": str(port),
        "PORT": url,
        each: url,
        f"{each}_PROTO": protocol.lower(),
        f"{each}_PORT": str(port),
        f"{each}_ADDR": "10.0.0.9",
    }
    return {f"{service}_{name}": value for name, value in links.items()}


# -- empty, and white space ----------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", " ", "\t\n"])
@pytest.mark.parametrize("variable", [option.variable for option in TEXTS.values()])
def test_an_empty_variable_is_not_set(variable: str, text: str) -> None:
    assert Options.from_env({variable: text}) == Options()


@pytest.mark.parametrize("variable", ["VSDK_TRIO_REGISTRY_URL", "VSDK_TRIO_REGISTRY_TOKEN"])
def test_nor_is_one_that_is_no_option(variable: str) -> None:
    assert Options.from_env({variable: ""}) == Options()


@pytest.mark.parametrize("text", ["", "  "])
@pytest.mark.parametrize("name", list(TEXTS))
def test_an_empty_argument_is_not_set(name: str, text: str) -> None:
    assert Options(**{name: text}) == Options()
    options = Options()
    setattr(options, name, text)
    assert options == Options()


def test_what_has_no_default_must_have_a_value() -> None:
    with pytest.raises(OptionsError, match="entrypoint_fnc"):
        WorkerOptions(entrypoint_fnc="")  # type: ignore[arg-type]  # the mistake under test


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("port", " 9000 ", 9000),
        ("agent_id", " agent\n", "agent"),
        ("auth_token", "token\n", "token"),
        ("debug_token", " word\r\n", "word"),
        ("log_level", " debug ", "DEBUG"),
        ("register", " true ", True),
        ("preload", " numpy , json ", ("numpy", "json")),
        ("ca_file", "/ca.pem ", "/ca.pem"),
        ("http_proxy", " http://proxy:1 ", "http://proxy:1"),
    ],
)
def test_white_space_around_a_value_does_not_count(name: str, text: str, value: object) -> None:
    assert getattr(Options(**{name: text}), name) == value
    assert getattr(Options.from_env({TEXTS[name].variable: text}), name) == value


# -- texts for numbers and truth values ----------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("port", "9000", 9000),
        ("max_processes", "4", 4),
        ("close_timeout", "2.5", 2.5),
        ("load_threshold", "0.5", 0.5),
        ("job_timeout", "60", 60.0),
        ("register", "true", True),
        ("register", "False", False),
        ("traces", "off", False),
    ],
)
def test_a_number_or_a_truth_value_may_be_a_text(name: str, text: str, value: object) -> None:
    options = Options(**{name: text})
    assert getattr(options, name) == value
    assert type(getattr(options, name)) is type(value)
    later = Options()
    setattr(later, name, text)
    assert later == options


@given(st.sampled_from(sorted(TEXTS)), st.text(max_size=30))
def test_no_text_is_a_value_of_another_type(name: str, text: str) -> None:
    """A text gives what the option has by default, or a value of its type, or the one error."""
    try:
        value = getattr(Options(**{name: text}), name)
    except OptionsError:
        return
    default = getattr(Options(), name)
    if not text.strip():
        assert value == default
    if isinstance(default, (bool, int, float)):
        assert type(value) is type(default) or isinstance(value, float)


def test_the_types_of_options_are_still_seen() -> None:
    hints = Options.__init__.__annotations__
    assert hints["port"] == "int"
    assert {field.name for field in attrs.fields(Options)} <= hints.keys()


# -- service links -------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["TCP", "UDP", "SCTP"])
@pytest.mark.parametrize(
    "service", ["VSDK_TRIO", "VSDK_TRIO_REGISTRY", "VSDK_TRIO_AGENT_EU_1", "VSDK_TRIO_HOST"]
)
def test_a_service_is_no_option(service: str, protocol: str) -> None:
    links = links_of(service, protocol=protocol)
    environ = {**links, "VSDK_TRIO_MAX_PROCESSES": "3"}
    assert Options.from_env(environ) == Options(max_processes=3)
    assert service_links(environ) == list(links)


def test_a_service_of_ipv6() -> None:
    environ = {"VSDK_TRIO_PORT": "tcp://[fd00::9]:80"}
    assert Options.from_env(environ).port == 8081
    assert service_links(environ) == ["VSDK_TRIO_PORT"]


def test_other_services_and_our_own_options_are_no_links() -> None:
    environ = {"VSDK_TRIO_PORT": "9000", "VSDK_TRIO_HOST": "::1", **links_of("REDIS")}
    assert service_links(environ) == []
    assert Options.from_env(environ).port == 9000
    assert not service_links(dict.fromkeys((option.variable for option in TEXTS.values()), "1"))


def test_a_port_that_is_no_link_is_still_an_error() -> None:
    with pytest.raises(OptionsError, match="VSDK_TRIO_PORT must be a number"):
        Options.from_env({"VSDK_TRIO_PORT": "http://10.0.0.9:80"})


# -- where the registry is -----------------------------------------------------------------------


def where(environ: Mapping[str, str], **arguments: Any) -> tuple[str, str | None]:
    options = Options.from_env(environ, **arguments)
    return options.signaling_base_url, options.backend_url


NEW, BASE, BACKEND = (
    f"VSDK_TRIO_{name}" for name in ("REGISTRY_URL", "SIGNALING_BASE_URL", "BACKEND_URL")
)


@pytest.mark.parametrize(
    ("environ", "arguments", "expected"),
    [
        ({}, {}, (HOSTED, None)),
        ({NEW: "http://r:8080"}, {}, ("http://r:8080", None)),
        ({NEW: "https://r/prefix"}, {}, ("https://r/prefix", None)),
        ({NEW: "wss://r/prefix"}, {}, (HOSTED, "wss://r/prefix")),
        ({NEW: "WS://r:1"}, {}, (HOSTED, "WS://r:1")),
        ({NEW: " http://r "}, {}, ("http://r", None)),
        ({NEW: "", BASE: "http://old"}, {}, ("http://old", None)),
        ({NEW: "http://r", BASE: "http://old", BACKEND: "ws://old"}, {}, ("http://r", None)),
        ({BASE: "http://old", BACKEND: "ws://old"}, {}, ("http://old", "ws://old")),
        ({BASE: "r.example.com"}, {}, ("r.example.com", None)),
        ({NEW: "http://r"}, {"signaling_base_url": "http://mine"}, ("http://mine", None)),
        ({NEW: "http://r"}, {"backend_url": "ws://mine"}, (HOSTED, "ws://mine")),
        ({BACKEND: "ws://old"}, {"signaling_base_url": "http://mine"}, ("http://mine", None)),
        ({NEW: "http://r"}, {"backend_url": ""}, ("http://r", None)),
    ],
)
def test_the_strongest_source_decides_alone(
    environ: dict[str, str], arguments: dict[str, Any], expected: tuple[str, str | None]
) -> None:
    assert where(environ, **arguments) == expected


ADDRESSES = ("http://a:1", "https://b/p", "ws://c:2", "wss://d")


@given(
    st.lists(
        st.builds(
            AddressSource,
            st.just("somebody"),
            st.none() | st.just(" ") | st.sampled_from(ADDRESSES),
            st.dictionaries(st.sampled_from(OLDER_NAMES), st.none() | st.sampled_from(ADDRESSES)),
        ),
        max_size=4,
    )
)
def test_a_weaker_source_changes_nothing(sources: list[AddressSource]) -> None:
    decided = address_options(*sources)
    for count in range(len(sources)):
        if first := address_options(*sources[:count]):
            assert decided == first
    assert not decided or decided.keys() >= {"backend_url"}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (AddressSource("x"), "http://default"),
        (AddressSource("x", "ws://r:8080/p"), "http://r:8080/p"),
        (AddressSource("x", "wss://r"), "https://r"),
        (AddressSource("x", "http://r"), "http://r"),
        (
            AddressSource("x", None, {"signaling_base_url": "r.example.com"}),
            "https://r.example.com",
        ),
        (AddressSource("x", None, {"backend_url": "r.example.com"}), "https://r.example.com"),
        (
            AddressSource("x", None, {"backend_url": "ws://r", "signaling_base_url": "http://api"}),
            "http://api",
        ),
    ],
)
def test_the_address_that_commands_ask(source: AddressSource, expected: str) -> None:
    assert rest_address(source, default="http://default") == expected


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("127.0.0.1:8080", "127.0.0.1:8080"),
        ("ftp://r", "ftp://r"),
        ("http://", "http://"),
        ("user:s3cret@r", "r"),
        ("r?token=s3cret", "r"),
    ],
)
def test_what_is_no_address_is_one_clear_error(address: str, shown: str) -> None:
    with pytest.raises(OptionsError) as error:
        Options.from_env({NEW: address})
    assert str(error.value) == (
        "VSDK_TRIO_REGISTRY_URL must be the URL of a registry, such as http://127.0.0.1:8080 or "
        f"wss://registry.example.com, got {shown!r}"
    )


# -- the table of names --------------------------------------------------------------------------

DOCS = (Path(__file__).parent.parent / "docs" / "command-line.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", TEXTS)
def test_the_docs_have_every_name(name: str) -> None:
    """In code, as a flag and as a variable; a secret has no flag."""
    option = TEXTS[name]
    flag = " " if option.is_secret else f" `--{name.replace('_', '-')}` "
    assert DOCS.count(f"\n| `{name}` |{flag}| `{option.variable}` |\n") == 1
