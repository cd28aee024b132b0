"""Shows the link to the page on which a person can talk to an agent.

A leaf. The whole link has the job's token in it, so it is for a terminal, whose user has
the token anyway. Any other output gets a link without it.
"""

from __future__ import annotations

import sys
from typing import TextIO
from urllib.parse import urlencode

from ..telemetry.logs.loggers import get_logger

logger = get_logger(__name__)

_PAGE = "https://playground.videosdk.live/cli"


def show_playground(room_id: str, token: str, *, stream: TextIO | None = None) -> None:
    """Say where one can talk to the agent in `room_id`; with the token only on a terminal.

    Argument: `stream`, where a person may be reading; standard error as it is now by default.
    """
    stream = sys.stderr if stream is None else stream
    if token and stream is not None and stream.isatty():  # a program may have no standard error
        link = f"{_PAGE}?{urlencode({'token': token, 'meetingId': room_id})}"
        stream.write(f"Talk to the agent at {link}\n")
        stream.flush()
    else:
        link = f"{_PAGE}?{urlencode({'meetingId': room_id})}"
        logger.info("talk to the agent at %s&token=... (a token of your own at the end)", link)
