"""Echoes stdin to stdout: the other end of the pipe round trip.

Needs nothing but the interpreter: `python -I -S pipe_echo.py`.
"""

from __future__ import annotations

import os

while line := os.read(0, 1 << 16):
    os.write(1, line)
