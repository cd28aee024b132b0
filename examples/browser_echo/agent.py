"""An agent in a browser: speak, and hear yourself come back. No account, no network.

    python examples/browser_echo/agent.py

then open the page that it names. Use headphones, or the agent hears itself. Ctrl-C ends it.

A phone lets a page use its microphone only over https (or from itself: `adb reverse tcp:8000
tcp:8000` and the same for 8080 make this computer its localhost). Behind something that adds https,
say where the agent is, and whose page may talk to it:
`--origin https://PAGE`, and open `https://PAGE/?agent=wss://AGENT/ws`.
"""

import argparse
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import trio

from vsdk_trio import JobContext, Options, RoomOptions, WorkerJob

PAGE = Path(__file__).parent / "page"


class Quiet(SimpleHTTPRequestHandler):
    """Serves files, and says nothing about it."""

    def log_message(self, format: str, *arguments: object) -> None: ...


async def serve_page(port: int, agent: str) -> None:
    """Serve the page on this machine, until cancelled."""
    server = ThreadingHTTPServer(("127.0.0.1", port), partial(Quiet, directory=str(PAGE)))
    address = f"http://127.0.0.1:{server.server_port}/"
    print(f"Open {address}?agent={quote(agent, safe=':/')}", flush=True)
    try:
        await trio.to_thread.run_sync(server.serve_forever, abandon_on_cancel=True)
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(server.shutdown)
        server.server_close()


async def echo(page_port: int, ctx: JobContext) -> None:
    await ctx.connect()
    room = ctx.room
    assert room is not None
    ctx.nursery.start_soon(serve_page, page_port, room.address)
    while (caller := await room.wait_for_participant()) is not None:
        print(f"{room.participants[caller].name} is there", flush=True)
        # Ends when the caller leaves. What is heard is played at the speed it is spoken.
        await room.play(room.audio(caller))
        print("and has left", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="An agent that repeats what it hears.")
    parser.add_argument("--port", type=int, default=8080, help="of the agent; 0 picks a free one")
    parser.add_argument("--page-port", type=int, default=8000, help="of the page; 0 the same")
    parser.add_argument("--host", default="127.0.0.1", help="the address the agent listens on")
    parser.add_argument("--origin", action="append", default=[], help="a page that may connect")
    given = parser.parse_args()
    options = RoomOptions(
        name="Echo",
        transport_mode="websocket",
        websocket={"port": given.port, "host": given.host, "origins": given.origin},
        # It waits for the next caller.
        auto_end_session=False,
        no_participant_timeout_seconds=None,
    )
    WorkerJob(
        entrypoint=partial(echo, given.page_port),
        jobctx=JobContext(room_options=options),
        options=Options(register=False),
    ).start()


if __name__ == "__main__":
    main()
