"""The layer table of docs/architecture.md, as data, checked against what modules really import."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "vsdk_trio"

LEAVES = (
    "errors",
    "observations",
    "options",
    "room_options",
    "load",
    "_alarm",
    "_standard_library",
    "_aio_loop",
    "_aio_thread",
    "_asgi",
    "_before_fork",
    "_change",
    "_cpu_quota",
    "_cut_watch",
    "_exit_codes",
    "_extras",
    "_guarded_stream",
    "_handover",
    "_import_hints",
    "_keywords",
    "_loggers",
    "_masked_tracebacks",
    "_masking",
    "_option_checks",
    "_option_texts",
    "_playground",
    "_published",
    "_published_jobs",
    "_reader_guard",
    "_recording",
    "_records",
    "_registry_address",
    "_room_configs",
    "_room_overlay",
    "_service",
    "_shortages",
    "_short_ids",
    "_signals",
    "_single_errors",
    "_stopping",
    "_threads",
    "_wait",
    "_websocket_link",
)

# What the modules below a name may import of the project, besides themselves.
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "observations": ("_loggers",),  # of a listener that raises
    "protocol": ("errors", "_masking"),
    "jobs": ("errors", "protocol.vocabulary", "_shortages"),
    "control": ("errors",),
    "backend": (*LEAVES, "protocol"),
    "processes": (*LEAVES, "control", "jobs.prewarm", "jobs.starting"),
    # Its signaling is a WebSocket of a client, and that is there already.
    "rooms.webrtc": (*LEAVES, "rooms", "backend"),
    "rooms": (*LEAVES, "web.access"),
    "runner": (*LEAVES, "control", "rooms", "jobs.entrypoint", "jobs.starting", "traces"),
    "template": (*LEAVES, "control", "runner", "jobs.entrypoint"),
    "traces": LEAVES,
    "aio": (*LEAVES, "runner"),
    "journal": (*LEAVES, "protocol.vocabulary"),
    "logs": LEAVES,
    "web": (*LEAVES, "metrics"),
    "metrics": (*LEAVES, "jobs.admission", "jobs.lifecycle", "status.view"),
    "status": (*LEAVES, "metrics", "web"),
    "registry": (*LEAVES, "metrics", "protocol", "web"),
    "worker_job": (*LEAVES, "jobs.entrypoint", "logs", "runner", "worker", "backend.token"),
    "worker": (
        *LEAVES,
        "backend",
        "control",
        "jobs",
        "journal",
        "logs",
        "metrics",
        "processes",
        "protocol",
        "status",
        "traces",
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
        "logs",
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
    "metrics.family",
    "metrics.of_jobs",
    "metrics.of_surroundings",
    "metrics.tallies",
    "jobs.lifecycle",
    "jobs.admission",
    "jobs.prewarm",
    "jobs.starting",
    "journal.records",
    "control.frames",
    "control.ndjson",
    "control.job",
    "control.orders",
    "registry.dispatcher",
    "registry.ledger",
    "registry.public_url",
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
            if node.module is None:
                yield from (f"{target}.{alias.name}" for alias in node.names)
            else:
                yield target


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
        if module in ("__init__", "__main__"):  # the front doors: lazy names only
            return
        assert module in LEAVES, f"{module} has no place in the layer table"
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
