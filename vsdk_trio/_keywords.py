"""Turns an unknown keyword argument into an error that names the nearest right one.

A leaf. `Options` and `RoomOptions` use it, so that a misspelt option is found when it is written
and not when it is missed in production.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import attrs

from .errors import OptionsError

_Class = TypeVar("_Class", bound=type)


def unknown_name(owner: str, name: str, known: Iterable[str]) -> OptionsError:
    """An error that says that `owner` has no option `name`, and which known one is nearest."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return OptionsError(f"{owner} has no option {name!r}{hint}")


def helpful_init(cls: _Class) -> _Class:
    """Class decorator, applied above `attrs.define`: unknown keywords raise `OptionsError`."""
    # Through the metaclass-free route: replace `__init__` after attrs has made it, so that type
    # checkers still see the signature attrs generates.
    original: Callable[..., None] = cls.__init__  # type: ignore[misc]  # reading it off the class is the point
    known = dict.fromkeys(field.alias for field in attrs.fields(cls) if field.init)

    @functools.wraps(original)
    def checked(self: Any, /, *args: Any, **kwargs: Any) -> None:
        if not kwargs.keys() <= known.keys():
            name = next(name for name in kwargs if name not in known)
            raise unknown_name(type(self).__name__, name, known)
        original(self, *args, **kwargs)

    cls.__init__ = checked  # type: ignore[misc]  # see above
    return cls
