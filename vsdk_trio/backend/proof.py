"""When to ask the registry for proof that it has taken our frames, and what counts as one.

The protocol acknowledges nothing. The proof is the registry's answer to a JSON ping; where it
answers none, a WebSocket pong and some life of the link after it. Pure: time is an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..protocol.messages import Message, WorkerPing
from ..protocol.outbox import Outbox


class Prover:
    """Asks once at a time after durable messages, and at each heartbeat in any case."""

    def __init__(self, outbox: Outbox, on_proven: Callable[[Message], None]) -> None:
        self._outbox = outbox
        self._on_proven = on_proven
        self._heartbeat_due = False
        self._timestamps: tuple[int, int] | None = None
        self._is_answered = False

    @property
    def is_answered(self) -> bool:
        """Whether a JSON ping was ever answered in this session."""
        return self._is_answered

    def session_opened(self) -> None:
        """Start anew: the next registry may be another one."""
        self._heartbeat_due = False
        self._timestamps = None
        self._is_answered = False

    def heartbeat(self) -> None:
        """Make a ping due, whether or not the last one was answered."""
        self._heartbeat_due = True

    def ping_due(self, wall_ms: int) -> WorkerPing | None:
        """Return the ping to send now, if one is due; `wall_ms` is the wall clock.

        To be asked when nothing else is left to be sent, and to be sent at once: it proves what
        was sent before this call.
        """
        wanted = self._outbox.needs_proof and not self._outbox.awaiting_pong
        if not (wanted or self._heartbeat_due):
            return None
        self._heartbeat_due = False
        timestamp = self._outbox.next_ping(wall_ms)
        first = timestamp if self._timestamps is None else self._timestamps[0]
        self._timestamps = (first, timestamp)
        return WorkerPing(timestamp=timestamp)

    def pong(self, timestamp: int | None) -> None:
        """Note an answer to a JSON ping; one that this session did not send is none."""
        if timestamp is None or self._timestamps is None:
            return
        first, last = self._timestamps
        if first <= timestamp <= last:
            self._is_answered = True
            self._tell(self._outbox.pong(timestamp))

    def lived_on(self, websocket_ping_sent_at: float) -> None:
        """Note that the link has lived long enough after an answered WebSocket ping.

        It proves something only where JSON pings are not answered: a server's protocol layer
        answers WebSocket pings with frames still unread by the application.
        """
        if not self._is_answered:
            self._tell(self._outbox.heartbeat_proved(websocket_ping_sent_at))

    def _tell(self, proven: Iterable[Message]) -> None:
        for message in proven:
            self._on_proven(message)
