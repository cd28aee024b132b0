"""One job, here and now, without a registry: `python examples/direct_mode.py`.

Ctrl-C and SIGTERM end it in order: the shutdown callback runs, the exit code is 0.
"""

import trio

from vsdk_trio import JobContext, RoomOptions, WorkerJob


async def entrypoint(ctx: JobContext) -> None:
    ctx.add_shutdown_callback(lambda: print("callback: goodbye"))
    await ctx.connect()
    participant = await ctx.wait_for_participant()
    print(f"{participant} has joined")
    await trio.sleep(1)
    print("done")


if __name__ == "__main__":
    # The loopback room is in memory: no account, no network.
    context = JobContext(room_options=RoomOptions(transport_mode="loopback"))
    WorkerJob(entrypoint=entrypoint, jobctx=context).start()
