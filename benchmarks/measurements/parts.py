"""The small parts, by pytest-benchmark: codec, frames, outbox, room options."""

from __future__ import annotations

import json
import sys
import tempfile
from functools import partial
from pathlib import Path

import trio

from ..figures import Book

PARTS = Path(__file__).parent.parent / "parts"


async def measure_parts(book: Book, *, quick: bool) -> None:
    """Run `benchmarks/parts` in an interpreter of its own; medians in microseconds."""
    with tempfile.TemporaryDirectory() as directory:
        result = Path(directory) / "parts.json"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", str(PARTS)]
        command += [f"--benchmark-json={result}", "--benchmark-quiet", "-o", "addopts="]
        command += ["-o", "testpaths=", f"--benchmark-max-time={0.02 if quick else 0.5}"]
        await trio.run_process(
            command, capture_stdout=True, capture_stderr=True, cwd=PARTS.parent.parent
        )
        found = await trio.to_thread.run_sync(partial(result.read_text, encoding="utf-8"))
    for part in json.loads(found)["benchmarks"]:
        name = part["name"].removeprefix("test_").replace("_", " ")
        book.add(f"part: {name}", "spawn", "µs", [part["stats"]["median"] * 1e6])
