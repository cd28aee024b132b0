"""asyncio beside Trio: a thread with an event loop, and values that cross between the two."""
