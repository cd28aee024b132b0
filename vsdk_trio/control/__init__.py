"""The control channel: how a worker and the runner inside a job process talk to each other."""
