"""Turns a wrong argument into an error that says what is right, and ends a script by one line.

A leaf. `Options` and `RoomOptions` use it, so that a misspelt option is found when it is written
and not when it is missed in production.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import attrs

from ..errors import OptionsError

_Class = TypeVar("_Class", bound=type)


def unknown_name(owner: str, name: str, known: Iterable[str]) -> OptionsError:
    """An error that says that `owner` has no option `name`, and which known one is nearest."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return OptionsError(f"{owner} has no option {name!r}{hint}")


@contextmanager
def ends_in_one_line() -> Iterator[None]:
    """A wrong option of the body, where nobody catches it, ends the program by one line, code 2.

    Python would print a traceback, and end with 1, of which supervisors think that it may pass.
    """
    try:
        yield
    except OptionsError as error:
        # Imported late: job processes do without.
        from ..telemetry.logs.tracebacks import mask_tracebacks

        error.ends_program = True
        mask_tracebacks()
        raise


def helpful_init(cls: _Class) -> _Class:
    """Class decorator, applied above `attrs.define`: unknown keywords raise `OptionsError`."""
    # Through the metaclass-free route: replace `__init__` after attrs has made it, so that type
    # checkers still see the signature attrs generates.
    original: Callable[..., None] = cls.__init__  # type: ignore[misc]  # reading it off the class is the point
    known = dict.fromkeys(field.alias for field in attrs.fields(cls) if field.init)

    @functools.wraps(original)
    def checked(self: Any, /, *args: Any, **kwargs: Any) -> None:
        with ends_in_one_line():
            if not kwargs.keys() <= known.keys():
                name = next(name for name in kwargs if name not in known)
                raise unknown_name(type(self).__name__, name, known)
            original(self, *args, **kwargs)

    cls.__init__ = checked  # type: ignore[misc]  # see above
    return cls
