"""Why the SDK could not join, for a person.

Knows the shapes of the errors of the SDK, of requests and of websockets, by their attributes, so
that none of them has to be imported. Must not know Trio.
"""

from __future__ import annotations

import json
from typing import Any

from ..._masking import cut

_MAX_CHARS = 500


def cause_of(error: BaseException) -> str:
    """What happened, in one line of at most 500 characters."""
    inner = getattr(error, "message", None)
    if isinstance(inner, BaseException):  # the SDK wraps what it caught
        return cause_of(inner)
    response = getattr(error, "response", None)
    if response is not None:
        return cut(_answer_of(response), _MAX_CHARS)
    text = " ".join(str(error).split())
    kind = type(error).__name__
    if kind == "SSLError":
        text = (
            "its certificate is not trusted; for a service of your own, set the environment "
            f"variable REQUESTS_CA_BUNDLE to the file of its authority ({text})"
        )
    return cut(f"{kind}: {text}" if text else kind, _MAX_CHARS)


def _answer_of(response: Any) -> str:
    """An HTTP answer of requests (`reason`, `text`) or of websockets (`reason_phrase`, `body`)."""
    reason = getattr(response, "reason", None) or getattr(response, "reason_phrase", "")
    body = getattr(response, "body", None)
    text = response.text if body is None else bytes(body).decode("utf-8", "replace")
    return f"it answered {response.status_code} {reason}: {_message_in(text)}".rstrip(": ")


def _message_in(body: str) -> str:
    try:
        fields = json.loads(body)
    except ValueError:
        return " ".join(body.split())
    for name in ("message", "error", "statusText"):
        if isinstance(fields, dict) and isinstance(fields.get(name), str):
            return str(fields[name])
    return " ".join(body.split())
