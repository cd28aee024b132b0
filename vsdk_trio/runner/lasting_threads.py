"""Says which threads keep a process whose job is over, before the interpreter waits for them.

At its end the interpreter waits, without a word, for every thread that is no daemon. The process
keeps its slot meanwhile, until the worker's stop ladder ends it. Must not know jobs.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from typing import Final

from ..system.threads import could_start
from ..telemetry.logs.loggers import get_logger

logger = get_logger(__name__)

_STANDARD_LIBRARY: Final = threading.__file__.removesuffix("threading.py")
PATIENCE_SECONDS: Final = 0.5
"""How long threads may take to end before they are mentioned."""


def tell_of_lasting_threads() -> None:
    """Have the log name the threads that keep this process, if there are some in a moment.

    Call it last, in the main thread. It returns at once: what ends in time, as the idle threads of
    an executor do when the interpreter ends, is neither waited for here nor mentioned.
    """
    if not _lasting():
        return
    teller = threading.Thread(target=_tell, name="lasting threads", daemon=True)
    if not could_start(teller):
        _tell(0)


def _tell(patience_seconds: float = PATIENCE_SECONDS) -> None:
    time.sleep(patience_seconds)
    if threads := _lasting():
        logger.warning(
            "the job is over, but threads that are no daemons keep its process, and so its slot, "
            "until the worker ends it: %s; end them in a shutdown callback, or make them daemons",
            ", ".join(map(_describe, threads)),
        )


def _lasting() -> list[threading.Thread]:
    main = threading.main_thread()
    return [thread for thread in threading.enumerate() if not thread.daemon and thread is not main]


def _describe(thread: threading.Thread) -> str:
    frame = sys._current_frames().get(thread.ident or 0)
    if frame is None:
        return repr(thread.name)
    # Where the user's code is, and not where the standard library waits for it.
    places = traceback.extract_stack(frame)
    own = [place for place in places if not _is_standard(place.filename)]
    place = (own or places)[-1]
    file = place.filename.replace("\\", "/").rpartition("/")[2]
    return f"{thread.name!r} ({file}:{place.lineno} in {place.name})"


def _is_standard(filename: str) -> bool:
    return filename.startswith(_STANDARD_LIBRARY) and "site-packages" not in filename
