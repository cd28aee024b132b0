"""The HTTP servers of the worker and of the registry: access, answers, event streams, pages."""
