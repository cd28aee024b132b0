"""Metrics: their families, the counting, and the text formats of a scrape.

Counting is plain Python from a worker's start on; prometheus_client is loaded by the first scrape.
"""
