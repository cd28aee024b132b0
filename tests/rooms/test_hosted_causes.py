"""Why the SDK could not join, as a text; without the SDK."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from vsdk_trio.errors import RoomError
from vsdk_trio.rooms.hosted.sdk import cause_of, preload


class SSLError(Exception): ...


def error(**fields: object) -> Exception:
    exception = Exception("text")
    for name, value in fields.items():
        setattr(exception, name, value)
    return exception


@pytest.mark.parametrize(
    ("exception", "text"),
    [
        (OSError("no route\n to host"), "OSError: no route to host"),
        (KeyError("data"), "KeyError: 'data'"),
        (ValueError(), "ValueError"),
        (error(message=error(message=OSError("inner"))), "OSError: inner"),
        (
            error(response=SimpleNamespace(status_code=401, reason="", text='{"message": "old"}')),
            "it answered 401 : old",
        ),
        (
            error(response=SimpleNamespace(status_code=502, reason="Bad", text="<html>\n x")),
            "it answered 502 Bad: <html> x",
        ),
        (
            error(response=SimpleNamespace(status_code=500, reason="", text="[1]")),
            "it answered 500 : [1]",
        ),
        (
            error(response=SimpleNamespace(status_code=403, reason_phrase="Forbidden", body=b"no")),
            "it answered 403 Forbidden: no",
        ),
        (error(response=SimpleNamespace(status_code=403, reason="", text="")), "it answered 403"),
    ],
)
def test_a_cause(exception: Exception, text: str) -> None:
    assert cause_of(exception) == text


def test_one_that_is_not_trusted_says_what_to_do() -> None:
    assert "REQUESTS_CA_BUNDLE" in cause_of(error(message=SSLError("self-signed")))


def test_it_is_bounded() -> None:
    assert len(cause_of(ValueError("x" * 10_000))) == 500


def test_an_sdk_that_cannot_be_imported_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "videosdk"
    package.mkdir()
    (package / "__init__.py").write_text("raise ValueError('no signature found for dict')\n")
    for name in [name for name in sys.modules if name.partition(".")[0] == "videosdk"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "vsdk_trio.rooms.hosted.call", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    what = "cannot import the package videosdk: ValueError: no signature found for dict; use"
    with pytest.raises(RoomError, match=what):
        preload()
