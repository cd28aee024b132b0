"""Log records of a job process as lines of JSON on stderr, where the worker reads them.

One object a line, with `msg`, `level`, `logger`, `time`, `file` and `line`, and `thread`, `exc`
and `extra` where there are any. Anything else that reaches stderr needs no help from here. Must
not know jobs or frames.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterable
from typing import Any

from .._masking import Masker

MAX_LINE_BYTES = 16 << 10
"""What the worker reads of one line; a longer one would arrive as broken JSON."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_CUT_CHARS = 1000  # each takes at most six bytes, so two cut texts fit into a line


class JobLogHandler(logging.Handler):
    """Writes records to the file descriptor `fd`, each with a single `write`.

    A record that cannot be written is lost: a worker that is gone must not fail the job. Tokens
    given to `hide` are masked in everything that is logged from then on.
    """

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd
        self._masker = Masker()

    def hide(self, secrets: Iterable[str]) -> None:
        """Mask `secrets` from now on."""
        self._masker.hide(secrets)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            line = encode_record(record, self._masker)
        except Exception:
            self.handleError(record)  # a bad format string: its author gets the usual traceback
            return
        with contextlib.suppress(OSError):  # nobody reads any more: there is nowhere to say so
            os.write(self._fd, line)


def encode_record(record: logging.LogRecord, masker: Masker) -> bytes:
    """The line for `record`, newline included, at most `MAX_LINE_BYTES` long."""
    fields: dict[str, Any] = {
        "msg": masker.text(record.getMessage()),
        "level": record.levelname,
        "levelno": record.levelno,
        "logger": record.name,
        "time": round(record.created, 6),
        "file": record.filename[:_CUT_CHARS],
        "line": record.lineno,
    }
    if record.threadName and record.threadName != "MainThread":
        fields["thread"] = record.threadName[:_CUT_CHARS]
    if record.exc_info and record.exc_info[0] is not None:
        fields["exc"] = masker.text(logging.Formatter().formatException(record.exc_info))
    if record.stack_info:
        fields["exc"] = "\n".join((*filter(None, [fields.get("exc")]), record.stack_info))
    extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
    if extra:
        fields["extra"] = masker.value(extra)
    line = _encode(fields)
    if len(line) <= MAX_LINE_BYTES:
        return line
    for name in ("extra", "thread", "file", "line"):
        fields.pop(name, None)
    fields["msg"] = _cut(fields["msg"])
    if "exc" in fields:
        # The end of a traceback says more than its beginning.
        fields["exc"] = "…" + fields["exc"][-_CUT_CHARS:]
    fields["truncated"] = True
    return _encode(fields)


def _dump(value: Any) -> str:
    return json.dumps(value, default=str, ensure_ascii=False, separators=(",", ":"))


def _encode(fields: dict[str, Any]) -> bytes:
    # What is no Unicode (half a surrogate pair, from a path) becomes an escape, which JSON knows.
    return _dump(fields).encode("utf-8", "backslashreplace") + b"\n"


def _cut(text: str) -> str:
    return text if len(text) <= _CUT_CHARS else text[:_CUT_CHARS] + "…"


def install(fd: int, level: str) -> JobLogHandler:
    """Have the root logger write to `fd` from `level` on; warnings are logged, too."""
    handler = JobLogHandler(fd)
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(True)
    return handler
