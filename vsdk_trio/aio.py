"""Agents that were written for asyncio: `@vsdk_trio.aio.entrypoint` and nothing else changes.

The front door only.
"""

from __future__ import annotations

from .runner.for_asyncio import entrypoint

__all__ = ["entrypoint"]
