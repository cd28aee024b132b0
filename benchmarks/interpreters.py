"""Bare interpreters: what a start and the memory cost before a line of ours has run.

"The worker's imports" are everything that a worker program imports, modules of this project
included; "libraries" are the same without those, which is what no change of ours can save but by
doing without a library.

Each is started in a session of its own, as job processes are: Linux shares the processors between
sessions, so that on a busy machine everything else would be compared with a handicap.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import attrs

WORKER_MODULES = ("vsdk_trio.worker_job", "vsdk_trio.worker.worker")
RUNNER_MODULES = ("vsdk_trio.runner.process", "vsdk_trio.worker_job")

_LIST = """
import sys
before = set(sys.modules)
import importlib
for name in sys.argv[1:]:
    importlib.import_module(name)
import json
print(json.dumps([name for name in sys.modules if name not in before]))
"""
# Prints when it got there, then waits for the end of stdin.
_IMPORT = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
import time
print(time.monotonic_ns(), flush=True)
sys.stdin.read()
"""


@attrs.frozen(kw_only=True)
class Imports:
    """Modules to import in a bare interpreter."""

    name: str
    modules: tuple[str, ...]


@attrs.frozen(kw_only=True)
class KnownImports:
    """What is compared with."""

    nothing: Imports
    runner: Imports
    runner_libraries: Imports
    worker: Imports
    worker_libraries: Imports


def find_imports() -> KnownImports:
    """Look up what worker and runner import, in interpreters of their own."""
    return KnownImports(
        nothing=Imports(name="bare interpreter", modules=()),
        runner=Imports(name="interpreter, runner's imports", modules=RUNNER_MODULES),
        runner_libraries=Imports(
            name="interpreter, runner's libraries", modules=_libraries(RUNNER_MODULES)
        ),
        worker=Imports(name="interpreter, worker's imports", modules=WORKER_MODULES),
        worker_libraries=Imports(
            name="interpreter, worker's libraries", modules=_libraries(WORKER_MODULES)
        ),
    )


def time_start(imports: Imports) -> int:
    """Nanoseconds from starting an interpreter until it has imported all of it."""
    started_ns = time.monotonic_ns()
    with _interpreter(imports) as (_, imported_ns):
        return imported_ns - started_ns


@contextmanager
def resident(*several: Imports) -> Iterator[list[int]]:
    """Hold one interpreter for each; yields their process ids."""
    with ExitStack() as stack:
        yield [stack.enter_context(_interpreter(imports))[0] for imports in several]


@contextmanager
def _interpreter(imports: Imports) -> Iterator[tuple[int, int]]:
    command = [sys.executable, "-c", _IMPORT, *imports.modules]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None, "asked for with PIPE"
        yield process.pid, int(process.stdout.readline())
        process.kill()  # how long it takes to leave is not of interest


def _libraries(modules: tuple[str, ...]) -> tuple[str, ...]:
    command = [sys.executable, "-c", _LIST, *modules]
    listed = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    return tuple(name for name in json.loads(listed) if name.partition(".")[0] != "vsdk_trio")
