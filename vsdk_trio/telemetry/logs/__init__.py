"""How the log leaves the program: masked, formatted, and without ever holding anybody up.

Knows records of the standard library's logging; must not know workers, jobs or processes.
"""
