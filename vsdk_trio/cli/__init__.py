"""The command line. A command's module is loaded only when the command runs.

`app` has the program and its help, `agents`, `clients` and `registry` have the commands with their
flags. Modules with an underscore do the work and may be slow to load.
"""
