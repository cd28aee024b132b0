"""Runs a program under a seccomp filter, as containers do: `python locked_down.py PROGRAM...`.

The kernel refuses what such filters refuse, to each program that is started in it, too. It exits
with 77 where this machine has no such filters.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import sys

CALLS = {
    "x86_64": {"memfd_create": 319, "pidfd_send_signal": 424, "pidfd_open": 434, "clone3": 435},
    "aarch64": {"memfd_create": 279, "pidfd_send_signal": 424, "pidfd_open": 434, "clone3": 435},
}
# The C library starts threads without this one only where it does not exist.
ANSWERS = {"clone3": errno.ENOSYS}
LOAD_NUMBER, IF_EQUAL, ANSWER = 0x20, 0x15, 0x06
ALLOW, REFUSE = 0x7FFF0000, 0x00050000
SET_SECCOMP, SET_NO_NEW_PRIVILEGES, FILTER = 22, 38, 2
CANNOT = 77


class Step(ctypes.Structure):
    _fields_ = [
        ("code", ctypes.c_ushort),
        ("if_true", ctypes.c_ubyte),
        ("if_false", ctypes.c_ubyte),
        ("value", ctypes.c_uint32),
    ]


class Steps(ctypes.Structure):
    _fields_ = [("count", ctypes.c_ushort), ("first", ctypes.POINTER(Step))]


def main() -> None:
    calls = CALLS.get(platform.machine())
    if calls is None:
        sys.exit(CANNOT)
    steps = [Step(LOAD_NUMBER, 0, 0, 0)]
    for name, number in calls.items():
        steps.append(Step(IF_EQUAL, 0, 1, number))
        steps.append(Step(ANSWER, 0, 0, REFUSE | ANSWERS.get(name, errno.EPERM)))
    steps.append(Step(ANSWER, 0, 0, ALLOW))
    program = Steps(len(steps), (Step * len(steps))(*steps))
    prctl = ctypes.CDLL(None).prctl
    if prctl(SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0) or prctl(
        SET_SECCOMP, FILTER, ctypes.byref(program), 0, 0
    ):
        sys.exit(CANNOT)
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])


main()
