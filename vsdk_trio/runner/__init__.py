"""The program inside a job process, and what it offers to the user's code there.

It starts light: nothing here imports the worker, the registry or their libraries.
"""
