"""An agent that puts secrets into every text that a user can give. They come as `SECRETS`."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import trio
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

from vsdk_trio import JobContext, Options, RoomOptions, WorkerJob

SECRETS: list[str] = json.loads(Path("secrets.json").read_text())
ALL = " | ".join(SECRETS)


class ToFile(SpanExporter):
    """Appends each span to `spans.jsonl`."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        with Path("spans.jsonl").open("a") as file:
            file.writelines(span.to_json(indent=None) + "\n" for span in spans)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None: ...


provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(SimpleSpanProcessor(ToFile()))
trace.set_tracer_provider(provider)
logger = logging.getLogger("agent")


def refuse(request: Any) -> str | None:
    if request.room_id == "raises":
        raise RuntimeError(f"request_fnc: {ALL}")
    return f"no, {ALL}" if request.room_id == "refused" else None


def load() -> float:
    load.calls += 1  # type: ignore[attr-defined]  # as a function counts
    if load.calls > 1:  # type: ignore[attr-defined]
        raise RuntimeError(f"load_fnc: {ALL}")
    return 0.0


load.calls = 0  # type: ignore[attr-defined]


def initialize(process: Any) -> None:
    print("initialize:", ALL)


def goodbye(reason: str) -> None:
    raise RuntimeError(f"callback after {reason!r}: {ALL}")


async def entrypoint(ctx: JobContext) -> None:
    global ALL
    token = ctx.videosdk_auth or ""
    SECRETS.extend((token, f"Bearer {token}", f"?t={token}"))
    ALL = " | ".join(SECRETS)
    ctx.room_options.name = f"me {ALL}"
    ctx.add_shutdown_callback(goodbye)
    print("printed:", ALL)
    os.write(2, f"written: {ALL}\n".encode())
    logger.warning("logged: %s", SECRETS, extra={"fields": {"x": SECRETS, ALL: 1}, "k": ALL})
    try:
        raise ValueError(ALL)
    except ValueError:
        logger.exception("caught")
    await ctx.connect()
    kind, number = ctx.metadata["kind"], int(ctx.metadata.get("number", 0))
    if kind == "waits":
        await trio.sleep_forever()
    if kind == "exits":
        print("x" * 300 + ALL)
        os._exit(3)
    if kind == "cut":  # so that each of them is where an error is cut
        raise RuntimeError("x" * (1000 - number) + " " + SECRETS[number % len(SECRETS)])
    raise ExceptionGroup(ALL, [RuntimeError(secret) for secret in SECRETS])


job = WorkerJob(
    entrypoint,
    jobctx=lambda: JobContext(
        room_options=RoomOptions(name=f"me {ALL}", transport_mode="loopback")
    ),
    options=Options.from_env(
        agent_id="agent",
        register=True,
        host="127.0.0.1",
        max_retry=1,
        traces=True,
        state_dir="state",
        request_fnc=refuse,
        load_fnc=load,
        initialize_process_fnc=initialize,
        shutdown_callback_timeout=2.0,
    ),
)
job.start()
