"""WebSockets by trio-websocket: the one place that knows that library."""
