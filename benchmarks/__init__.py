"""Measures the worker as its users run it. Not part of the package, and not a test."""
