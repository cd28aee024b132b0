"""Jobs whose code needs asyncio: a thread for it, and a bridge to Trio. See `vsdk_trio.aio`."""
