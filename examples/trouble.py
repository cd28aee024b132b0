"""An agent that gets into the trouble that its dispatch asks for."""

import ctypes
import logging
import signal
import time

import trio

from vsdk_trio import JobContext, Options, RoomOptions, WorkerJob

log = logging.getLogger("trouble")


def crunch(seconds: float) -> None:
    time.sleep(seconds)  # stands for whatever takes long and is not awaited


async def entrypoint(ctx: JobContext) -> None:
    await ctx.connect()
    log.info("about to %s", ctx.metadata["what"])
    match ctx.metadata["what"]:
        case "block":
            crunch(12)
            await trio.sleep(3)
        case "leak":
            hoard = []
            while True:
                hoard.append(bytearray(b"x" * (8 << 20)))
                await trio.sleep(0.25)
        case "flood":
            for number in range(20_000):
                print("frame", number, "of 20000")
        case "crash":
            ctypes.string_at(0)
        case "ignore":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            while True:
                crunch(3600)


if __name__ == "__main__":
    WorkerJob(
        entrypoint,
        jobctx=lambda: JobContext(room_options=RoomOptions(transport_mode="loopback")),
        options=Options.from_env(
            agent_id="trouble",
            register=True,
            max_processes=4,
            close_timeout=5,
            memory_warn_mb=100,
            memory_limit_mb=250,
        ),
    ).start()
