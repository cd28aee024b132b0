r"""An agent, as the reference writes it: only the import differs.

Against a registry on this machine, in two terminals:

    vsdk-trio registry --port 8080
    VSDK_TRIO_TRANSPORT=loopback VIDEOSDK_AUTH_TOKEN=local \
        VSDK_TRIO_REGISTRY_URL=http://127.0.0.1:8080 python examples/agent.py

and in a third: `vsdk-trio dispatch MyAgent`, `vsdk-trio jobs`, `vsdk-trio terminate JOB_ID`.
Without `VSDK_TRIO_REGISTRY_URL` it registers with VideoSDK itself.
"""

from vsdk_trio import JobContext, Options, RoomOptions, WorkerJob

options = Options.from_env(
    agent_id="MyAgent",
    max_processes=5,
    register=True,
)

room_options = RoomOptions(name="My Agent")
job_context = JobContext(room_options=room_options)


async def your_agent_function(ctx: JobContext) -> None:
    ctx.add_shutdown_callback(lambda reason: print(f"leaving: {reason}"))
    await ctx.connect()
    participant = await ctx.wait_for_participant()
    print(f"{participant} is here; waiting to be told to end")
    await ctx.run_until_shutdown()


job = WorkerJob(
    entrypoint=your_agent_function,
    jobctx=lambda: job_context,
    options=options,
)

job.start()
