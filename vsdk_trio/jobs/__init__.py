"""Pure decisions about jobs; knows nothing of processes, sockets or time."""
