"""Job processes forked from a template: the worker side, and `program`, which forks."""
