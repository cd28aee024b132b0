"""HTTP servers on 127.0.0.1, in threads of their own, that answer every POST as a test wants it."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

Handler: TypeAlias = http.server.BaseHTTPRequestHandler
Answer: TypeAlias = Callable[[Handler], None]
Serve: TypeAlias = Callable[[Answer], str]
"""Starts a server; returns its base URL."""


@contextmanager
def serving() -> Iterator[Serve]:
    """Yields what starts servers; they are gone when the body has ended."""
    servers: list[tuple[http.server.HTTPServer, threading.Thread]] = []

    def start(answer: Answer) -> str:
        class Answering(Handler):
            def do_POST(self) -> None:
                answer(self)

            def log_message(self, format: str, *args: object) -> None: ...

        server = http.server.HTTPServer(("127.0.0.1", 0), Answering)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}"

    try:
        yield start
    finally:
        for server, thread in servers:
            server.shutdown()
            thread.join()
            server.server_close()


def answering(status: int, body: bytes, location: str = "") -> Answer:
    """An answer that is always the same."""

    def answer(handler: Handler) -> None:
        handler.send_response(status)
        if location:
            handler.send_header("Location", location)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer
