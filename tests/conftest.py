"""What holds for every test, wherever and however the suite is started."""

from __future__ import annotations

import signal

from hypothesis import settings

# A busy machine is no bug.
settings.register_profile("vsdk_trio", deadline=None)
settings.load_profile("vsdk_trio")

# A shell that starts the suite in the background has it ignore SIGINT, and every program that the
# tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
