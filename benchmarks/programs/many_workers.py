"""Many workers in one process, for the local registry: each says yes, runs nothing, and says so.

`python many_workers.py REGISTRY_URL COUNT`. Prints the seconds until all were registered, then ends
with its stdin. Only the protocol is real: what is measured is the registry.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import AsyncExitStack

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, open_websocket_url

AT_ONCE = 50


async def serve(websocket: WebSocketConnection) -> None:
    try:
        while True:
            frame = json.loads(await websocket.get_message())
            job_id = frame.get("job_id")
            match frame["type"]:
                case "availability_request":
                    answer = {"type": "availability_response", "job_id": job_id, "available": True}
                    await websocket.send_message(json.dumps({**answer, "token": "t"}))
                case "job_assignment":
                    for status in ("running", "completed"):
                        update = {"type": "job_update", "job_id": job_id, "status": status}
                        await websocket.send_message(json.dumps(update))
                case "ping":
                    await websocket.send_message(json.dumps({**frame, "type": "pong"}))
    except ConnectionClosed:
        return


async def work(
    url: str, opening: trio.CapacityLimiter, *, task_status: trio.TaskStatus[None]
) -> None:
    async with AsyncExitStack() as stack:
        async with opening:
            opened = open_websocket_url(url, extra_headers=[(b"Authorization", b"Bearer t")])
            websocket = await stack.enter_async_context(opened)
            register = {"type": "register", "agent_name": "many", "version": "1.0.0", "token": "t"}
            await websocket.send_message(json.dumps({**register, "max_processes": 10}))
            await websocket.get_message()
        task_status.started()
        await serve(websocket)


async def main(url: str, count: int) -> None:
    opening = trio.CapacityLimiter(AT_ONCE)
    began = time.monotonic()
    async with trio.open_nursery() as nursery:
        async with trio.open_nursery() as starting:
            for _ in range(count):
                starting.start_soon(nursery.start, work, url, opening)
        print(time.monotonic() - began, flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, sys.argv[1], int(sys.argv[2]))
