"""The worker: one link to a registry, and the jobs that it runs. Assembly; imported on demand."""
