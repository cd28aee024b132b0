"""What operators see of a running program: events, logs, metrics, traces."""
