"""Metrics: what is counted, in which families, and how it is written down for who scrapes.

Counting is plain Python from a worker's start on; prometheus_client is loaded by the first scrape.
"""
