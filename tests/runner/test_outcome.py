"""Errors as one truthful, bounded line."""

from __future__ import annotations

import pytest
import trio

from vsdk_trio._exceptions import unwrapped
from vsdk_trio._masking import hide
from vsdk_trio.runner.outcome import (
    MAX_ERROR_CHARS,
    Outcome,
    describe_error,
    failure,
    without_cancelled,
)


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


class Rude(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("no"), "ValueError: no (test_outcome.py:{line} in raised)"),
        (ValueError(), "ValueError (test_outcome.py:{line} in raised)"),
        (KeyError("k"), "KeyError: 'k' (test_outcome.py:{line} in raised)"),
        (Rude(), "Rude: <its text raises ZeroDivisionError> (test_outcome.py:{line} in raised)"),
        (SystemExit(3), "sys.exit(3) (test_outcome.py:{line} in raised)"),
        (SystemExit("why"), "sys.exit('why') (test_outcome.py:{line} in raised)"),
        (KeyboardInterrupt(), "KeyboardInterrupt (test_outcome.py:{line} in raised)"),
    ],
)
def test_what_was_raised_and_where(error: BaseException, text: str) -> None:
    line = raised.__code__.co_firstlineno + 2
    assert failure(raised(error)) == Outcome(status="failed", error=text.format(line=line))


def test_an_error_that_was_never_raised_has_no_place() -> None:
    assert describe_error(ValueError("x")) == "ValueError: x"


@pytest.mark.parametrize("code", [None, 0])
def test_a_clean_exit_is_no_failure(code: int | None) -> None:
    assert failure(SystemExit(code)) == Outcome(status="completed")
    assert failure(BaseExceptionGroup("", [SystemExit(code)])) == Outcome(status="completed")
    assert describe_error(SystemExit(code)) == "sys.exit(0)"


def test_groups_are_flattened() -> None:
    inner = ExceptionGroup("inner", [ValueError("a"), KeyError("b")])
    group = BaseExceptionGroup("outer", [inner, SystemExit(0), SystemExit(2)])
    assert describe_error(group) == "3 errors: ValueError: a; KeyError: 'b'; sys.exit(2)"
    alone = ExceptionGroup("", [ExceptionGroup("", [ValueError("a")])])
    outcome = failure(alone)
    assert outcome.error == "ValueError: a"
    assert isinstance(outcome.exception, ValueError)
    assert unwrapped(group) is group


def test_a_text_is_bounded() -> None:
    assert describe_error(ValueError("x" * 5000)) == "ValueError: " + "x" * 1000 + "…"
    many = ExceptionGroup("", [ValueError("y" * 900) for _ in range(40)])
    text = describe_error(many)
    assert len(text) == MAX_ERROR_CHARS
    assert text.startswith("40 errors: ValueError: yyy")
    few = ExceptionGroup("", [ValueError(str(number)) for number in range(7)])
    assert describe_error(few).endswith("ValueError: 4; and 2 more")


def test_secrets_are_masked() -> None:
    error = ValueError("refused: tok-123456")
    hide("tok-123456", "a", "")
    assert describe_error(error) == "ValueError: refused: ***"
    assert describe_error(ValueError("a b")) == "ValueError: a b"  # too short


async def test_cancellation_is_taken_out() -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled as error:
            cancelled = error
            raise
    assert without_cancelled(cancelled) is None
    assert without_cancelled(BaseExceptionGroup("", [cancelled])) is None
    error = ValueError()
    assert without_cancelled(error) is error
    rest = without_cancelled(BaseExceptionGroup("", [cancelled, error]))
    assert rest is not None
    assert unwrapped(rest) is error


@pytest.mark.parametrize(
    "words",
    [
        "asyncio.run() cannot be called from a running event loop",
        "This event loop is already running",
        "Attempted to call run() from inside a run()",
    ],
)
def test_a_loop_inside_of_a_loop_is_told_to_be_awaited(words: str) -> None:
    assert "; await the coroutine instead (" in describe_error(raised(RuntimeError(words)))


def test_an_entrypoint_that_needs_asyncio_is_told_how() -> None:
    error = describe_error(raised(RuntimeError("no running event loop")))
    assert error.startswith(
        "RuntimeError: no running event loop; an entrypoint that needs asyncio is marked with "
        "@vsdk_trio.aio.entrypoint (test_outcome.py:"
    )
