"""What a worker must not forget when it dies: accepted jobs and how they ended, on disk."""
