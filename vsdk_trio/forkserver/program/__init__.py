"""The template: a program that loads the user's code once and forks job processes from it.

Single-threaded, with no event loop: a loop over one socket and the ends of its children. It stays
light, for what it has loaded every job process shares.
"""
