"""The layer table of docs/architecture.md, as data, checked against what modules really import."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "vsdk_trio"

LEAVES = (
    "errors",
    "load",
    "options",
    "system",
    "websocket",
    "asyncio_bridge",
    "_masking",
    "_service",
    "_exceptions",
    "telemetry.events",
    "telemetry.logs.loggers",
    "telemetry.logs.loggers",
    "telemetry.logs.tracebacks",
    "forkserver.before_fork",
    "http_server.server",
    "jobs.short_ids",
    "rooms.playground",
    "runner.recording",
)

# What the modules below a name may import of the project, besides themselves.
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "telemetry.events": ("telemetry.logs.loggers",),  # of a listener that raises
    "protocol": ("errors", "_masking"),
    "jobs": ("errors", "_exceptions", "protocol.vocabulary", "system.backoff", "system.shortages"),
    "control": ("errors",),
    "backend": (*LEAVES, "protocol"),
    "processes": (*LEAVES, "control", "jobs.prewarm", "jobs.starting"),
    # Its signaling is a WebSocket of a client, and that is there already.
    "rooms.webrtc": (*LEAVES, "rooms", "backend"),
    "rooms": (*LEAVES, "http_server.access"),
    "runner": (*LEAVES, "control", "rooms", "jobs.entrypoint", "jobs.starting", "telemetry.traces"),
    "forkserver.program": (*LEAVES, "control", "forkserver.orders", "runner", "jobs.entrypoint"),
    "forkserver": (*LEAVES, "control", "processes", "jobs.prewarm"),
    "telemetry.traces": LEAVES,
    "aio": (*LEAVES, "runner"),
    "journal": (*LEAVES, "protocol.vocabulary"),
    "telemetry.logs": LEAVES,
    "http_server": (*LEAVES, "telemetry.metrics"),
    "telemetry.metrics": (*LEAVES, "jobs.admission", "jobs.lifecycle"),
    "status": (*LEAVES, "telemetry.metrics", "http_server"),
    "registry": (*LEAVES, "telemetry.metrics", "protocol", "http_server"),
    "worker_job": (
        *LEAVES,
        "jobs.entrypoint",
        "telemetry.logs",
        "runner",
        "worker",
        "backend.token",
    ),
    "worker": (
        *LEAVES,
        "backend",
        "control",
        "jobs",
        "journal",
        "telemetry.logs",
        "telemetry.metrics",
        "forkserver",
        "processes",
        "protocol",
        "status",
        "telemetry.traces",
    ),
    "testing": (
        *LEAVES,
        "backend",
        "control",
        "journal",
        "processes",
        "protocol",
        "registry",
        "rooms",
    ),
    "cli": (
        *LEAVES,
        "telemetry.logs",
        "registry",
        "worker",
        "worker_job",
        "runner",
        "backend",
        "jobs",
        "protocol",
        "testing.videosdk",
    ),
}

PURE = (
    "protocol",
    "telemetry.metrics.tallies",
    "telemetry.metrics.families",
    "telemetry.metrics.families",
    "telemetry.metrics.tallies",
    "jobs.lifecycle",
    "jobs.admission",
    "jobs.prewarm",
    "jobs.starting",
    "journal.records",
    "backend.retries",
    "system.backoff",
    "control.frames",
    "control.ndjson",
    "forkserver.orders",
    "registry.dispatcher",
    "registry.ledger",
    "registry.public_url",
    "worker.actions",
    "worker.engine",
    "worker.live_job",
)
# `random` is allowed: a pure machine is handed a `random.Random`.
IMPURE = {
    "asyncio",
    "datetime",
    "io",
    "logging",
    "os",
    "pathlib",
    "select",
    "signal",
    "socket",
    "subprocess",
    "threading",
    "time",
    "trio",
    "trio_websocket",
}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports(path: Path) -> Iterator[str]:
    """Absolute names of everything that a module imports, anywhere in it."""
    module = module_name(path)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or ""
        elif isinstance(node, ast.ImportFrom):
            parts = ["vsdk_trio", *filter(None, package.split("."))]
            base = parts[: len(parts) - node.level + 1]
            target = ".".join([*base, *filter(None, [node.module])])
            for alias in node.names:
                submodule = f"{target}.{alias.name}"
                is_module = submodule.removeprefix("vsdk_trio.") in MODULES
                yield submodule if is_module or node.module is None else target


def below(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def own(path: Path) -> Iterator[str]:
    for name in imports(path):
        if below(name, "vsdk_trio"):
            yield name.removeprefix("vsdk_trio").removeprefix(".")


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_its_layer_may(module: str) -> None:
    layer = next((name for name in MAY_IMPORT if below(module, name)), None)
    if layer is None:
        # The front doors have lazy names only, and this package is a folder.
        if module in ("__init__", "__main__", "telemetry"):
            return
        assert any(below(module, leaf) for leaf in LEAVES), (
            f"{module} has no place in the layer table"
        )
        allowed: tuple[str, ...] = LEAVES
    else:
        allowed = (*MAY_IMPORT[layer], layer)
    wrong = {
        name
        for name in own(MODULES[module])
        if name not in ("", "__version__") and not any(below(name, p) for p in allowed)
    }
    assert not wrong, f"{module} must not import {sorted(wrong)}"


@pytest.mark.parametrize("module", [m for m in MODULES if any(below(m, p) for p in PURE)])
def test_a_pure_module_knows_nothing_of_the_world(module: str) -> None:
    used = {name.partition(".")[0] for name in imports(MODULES[module])}
    assert not used & IMPURE


def test_serialization_lives_in_two_places_only() -> None:
    users = {
        module
        for module, path in MODULES.items()
        if any(name.partition(".")[0] == "cattrs" for name in imports(path))
    }
    assert all(below(module, "protocol") for module in users), users


LIBRARIES = {
    # The stand-ins for tests share no code with the side that they are there to test.
    "trio_websocket": ("websocket", "testing"),
    "hypercorn": ("http_server.server",),
}
"""Libraries of which more is used than their documentation promises, and who may know them."""


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_is_known_in_one_place(library: str) -> None:
    users = {
        module
        for module, path in MODULES.items()
        if any(name.partition(".")[0] == library for name in imports(path))
    }
    assert all(any(below(user, place) for place in LIBRARIES[library]) for user in users), users
