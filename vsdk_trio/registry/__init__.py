"""A registry in a box: dispatches jobs to workers, for one machine, a laptop or a test.

Imports nothing by itself: `registry.core` runs over any link, `registry.server` over HTTP.
"""
