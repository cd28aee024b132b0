"""A job process for tests: speaks the frames, and misbehaves as its arguments say.

Standard library only, so that it starts fast. Modes are words of argv.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

MODES = set(sys.argv[1:])
INPUT = os.fdopen(os.dup(0), "rb")
OUTPUT = os.fdopen(os.dup(1), "wb", buffering=0)
os.dup2(2, 1)
# As a job process: a worker blocks them in what it starts.
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])


def say(frame_type: str, **fields: object) -> None:
    OUTPUT.write(json.dumps({"type": frame_type, **fields}).encode() + b"\n")


def start_grandchild(*, escape: bool) -> int:
    sleeper = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"]
    return subprocess.Popen(sleeper, start_new_session=escape, stdin=subprocess.DEVNULL).pid


def note(path_variable: str, text: str) -> None:
    if path := os.environ.get(path_variable):
        with open(path, "a") as file:
            file.write(text + "\n")


def misbehave_before_ready() -> None:
    if "exits-at-once" in MODES:
        sys.exit("cannot go on")
    if "ignores-sigterm" in MODES:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "junk" in MODES:
        OUTPUT.write(b"Welcome to the machine\n{]\n")
    if "never-ready" in MODES:
        print("thinking hard", file=sys.stderr, flush=True)
        time.sleep(600)
    if "init-fails" in MODES:
        print("no such module", file=sys.stderr, flush=True)
        say("init_failed", error="ModuleNotFoundError: No module named 'gone'")
        sys.exit(1)
    if "floods" in MODES:
        for _ in range(200):
            os.write(2, b"x" * 63 + b"\n" + b"y" * 16_000)
        os.write(2, b"\nthe last line\n")


def main() -> None:
    misbehave_before_ready()
    grandchildren = []
    if "grandchild" in MODES:
        grandchildren.append(start_grandchild(escape=False))
    if "escapee" in MODES:
        grandchildren.append(start_grandchild(escape=True))
    note("CHILD_NOTES", f"pids {os.getpid()} {' '.join(map(str, grandchildren))}".strip())
    say("ready", pid=os.getpid(), cookie=os.environ.get("VSDK_TRIO_COOKIE"))
    if "blocks" in MODES:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)
    for line in INPUT:
        frame = json.loads(line)
        match frame["type"]:
            case "ping":
                say("pong", seq=frame["seq"])
            case "start":
                say("running")
                job = frame["job"]
                if job.get("kill"):
                    os.kill(os.getpid(), job["kill"])
                for seq in range(job.get("pongs", 0)):
                    say("pong", seq=seq)
                if job.get("finish"):
                    say("finished", status="completed")
                    return
            case "stop" if "ignores-stop" not in MODES:
                say("finished", status="cancelled", error=frame["reason"])
                return
    if "ignores-eof" in MODES:
        time.sleep(600)
    time.sleep(0.05)
    note("CHILD_NOTES", f"polite {os.getpid()}")


main()
