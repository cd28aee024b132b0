"""Where a journal lies: its name in the state directory, its lock, and the way out of the way.

Knows files, not what is in them. Everything here blocks.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
import urllib.parse
from contextlib import suppress
from pathlib import Path
from typing import Final

from ..errors import JournalError, StateDirInUseError

_DIRECTORY_MODE: Final = 0o700
_FILE_MODE: Final = 0o600
_MAX_NAME_CHARACTERS: Final = 100  # a file name ends at 255 bytes; ours gets suffixes, too
_SUFFIXES: Final = ("", "-wal", "-shm", "-journal")


class Place:
    """One agent's place in a state directory, locked for this worker until `release`.

    The lock is the kernel's, so that it ends with the worker, however that ends. It is on a file
    of its own: the journal itself may be moved aside.

    Raises `StateDirInUseError` where another worker has it, `JournalError` where the directory
    cannot be used.
    """

    def __init__(self, directory: str, agent_id: str) -> None:
        self._directory = Path(os.path.abspath(directory))
        name = _file_name(agent_id)
        self.path = self._directory / f"{name}.journal"
        try:
            self._directory.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
            self._lock = os.fdopen(_open(self._directory / f"{name}.lock"), "r+b", buffering=0)
        except OSError as error:
            raise JournalError(f"the state directory cannot be used: {error}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # For a person who wonders who it is; nothing depends on it.
            self._lock.truncate(0)
            self._lock.write(b"%d\n" % os.getpid())
        except BlockingIOError:
            holder = self._lock.read(20).decode(errors="replace").strip() or "unknown"
            self._lock.close()
            raise StateDirInUseError(
                f"the state directory {directory!r} is in use by another worker of "
                f"{agent_id!r} (pid {holder}); every worker needs one of its own"
            ) from None
        except OSError as error:
            self._lock.close()
            raise JournalError(f"the state directory cannot be used: {error}") from error

    def prepare(self) -> None:
        """Make the journal's file if there is none, for nobody else to read. Raises `OSError`."""
        descriptor = _open(self.path)
        try:
            os.fchmod(descriptor, _FILE_MODE)
        finally:
            os.close(descriptor)
        self.sync()

    def move_aside(self, why: str) -> Path:
        """Rename the journal, and what belongs to it; returns the new name. Raises `OSError`."""
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        aside = self.path.with_name(f"{self.path.name}.{why}-{stamp}")
        number = 1
        while aside.exists():
            number += 1
            aside = self.path.with_name(f"{self.path.name}.{why}-{stamp}-{number}")
        for suffix in _SUFFIXES:
            with suppress(FileNotFoundError):
                os.rename(f"{self.path}{suffix}", f"{aside}{suffix}")
        self.sync()
        return aside

    def sync(self) -> None:
        """Make the names in the directory survive a loss of power. Raises `OSError`."""
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def release(self) -> None:
        """Let another worker have it. Idempotent."""
        self._lock.close()


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE)


def _file_name(agent_id: str) -> str:
    """A name that no other agent's is, readable where it can be."""
    name = urllib.parse.quote(agent_id, safe=" ")
    if len(name) <= _MAX_NAME_CHARACTERS:
        return name
    digest = hashlib.sha256(agent_id.encode()).hexdigest()[:16]
    return f"{name[:_MAX_NAME_CHARACTERS]}~{digest}"
