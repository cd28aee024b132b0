"""Notices changes of files, whatever becomes of the directories that hold them.

Knows watchfiles and its limits. Must not know what a change means.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Final, TypeAlias

import attrs
import trio
from watchfiles import Change, DefaultFilter, awatch
from watchfiles._rust_notify import WatchfilesRustInternalError

from ..errors import ShortageError
from ..system.threads import starting_threads
from ..telemetry.logs.loggers import get_logger

logger: Final = get_logger("vsdk_trio.dev")

# A burst of changes ends with a pause of this length: a checkout of many files is one burst.
_PAUSE_MS: Final = 250
# How often the directories themselves are looked at: the kernel watches one, and not its name.
_LOOK_MS: Final = 500
# Without the kernel's help each file is looked at, and there may be many.
_POLL_MS: Final = 1000
_RETRY_SECONDS: Final = 1.0

Identities: TypeAlias = dict[Path, tuple[int, int] | None]
"""What stands under each name now, as device and inode; None where nothing does."""


class _Filter(DefaultFilter):
    """Python files, and every file below a directory that was asked for."""

    def __init__(self, every_kind: Sequence[Path]) -> None:
        super().__init__()
        self._every_kind = tuple(os.path.join(path, "") for path in every_kind)

    def __call__(self, change: Change, path: str) -> bool:
        wanted = path.endswith(".py") or path.startswith(self._every_kind)
        return wanted and super().__call__(change, path)


@attrs.define
class Watch:
    """Watches `directories` for Python files, and those `of_every_kind` for all files."""

    directories: Sequence[Path]
    of_every_kind: Sequence[Path]
    _polling: bool = attrs.field(default=False, init=False)

    async def bursts(self) -> AsyncGenerator[set[str]]:
        """The paths of each burst of changes; the first burst is empty.

        A change that comes after the first burst is in a later one. A directory that goes away is
        watched again once it is back, and counts as changed then.
        """
        has_begun = False
        known = self._identities()
        for path, identity in known.items():
            if identity is None:
                logger.warning("there is no directory %s yet; it is watched once there is", path)
        back: set[str] = set()
        while True:
            try:
                async with aclosing(self._watched(known)) as bursts:
                    async for burst in bursts:
                        if not has_begun:
                            has_begun = True
                            yield set()
                        if changed := burst | back:
                            back = set()
                            yield changed
                        if (now := self._identities()) != known:
                            back = _tell(known, now)
                            known = now
                            break
            except (ShortageError, OSError):
                # A shortage is in the log by now; a directory that has just gone away is looked at.
                await trio.sleep(_RETRY_SECONDS)
                known = self._identities()
            except WatchfilesRustInternalError as error:
                if self._polling:
                    await trio.sleep(_RETRY_SECONDS)
                else:
                    logger.warning(
                        "the system watches no more files (%s), so they are looked at once a "
                        "second; raise fs.inotify.max_user_watches or max_user_instances",
                        error,
                    )
                    self._polling = True

    async def _watched(self, known: Identities) -> AsyncGenerator[set[str]]:
        """Bursts of changes below what is there; an empty one where there was none for a while."""
        paths = [path for path, identity in known.items() if identity is not None]
        if not paths:
            while True:
                await trio.sleep(_LOOK_MS / 1000)
                yield set()
        watching = awatch(
            *paths,
            watch_filter=_Filter(self.of_every_kind),
            step=_PAUSE_MS,
            rust_timeout=_LOOK_MS,
            yield_on_timeout=True,
            poll_delay_ms=_POLL_MS,
            force_polling=self._polling or None,  # None: as its environment variable says
            ignore_permission_denied=True,
        )
        with starting_threads("watch files"):
            async with aclosing(watching):
                async for changes in watching:
                    yield {path for _, path in changes}

    def _identities(self) -> Identities:
        return {path: _identity(path) for path in self.directories}


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _tell(before: Identities, now: Identities) -> set[str]:
    """Log which directories are gone; returns those that are there anew."""
    for path, identity in now.items():
        if identity is None and before[path] is not None:
            logger.warning("%s is gone; it is watched again once it is back", path)
    return {
        str(path)
        for path, identity in now.items()
        if identity is not None and identity != before[path]
    }
