"""Values of the published package's classes, `videosdk.agents`, read field by field.

A leaf, which imports nothing of that package: an object is known by the module and the name of its
class. What is of any other class is not guessed at.
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from typing import Any, Final

from ..telemetry.logs.loggers import get_logger

PACKAGE: Final = "videosdk.agents"

logger: Final = get_logger("vsdk_trio")


def is_published(value: object, name: str) -> bool:
    """Whether `value` is of the published package's class `name`, or of one derived from it."""
    return any(
        cls.__name__ == name
        and (cls.__module__ == PACKAGE or cls.__module__.startswith(f"{PACKAGE}."))
        for cls in type(value).__mro__
    )


def fields_of(value: object, known: Collection[str]) -> dict[str, Any]:
    """The fields of `value` that are `known` here, by name. A warning names the others.

    A class made by `dataclass` has a list of them; any other has what is set on the object.
    """
    names: Collection[str] = getattr(type(value), "__dataclass_fields__", None) or vars(value)
    public = [name for name in names if not name.startswith("_")]
    if other := [name for name in public if name not in known and getattr(value, name) is not None]:
        cls = type(value).__name__
        logger.warning("%s of %s: no effect here: %s", cls, PACKAGE, ", ".join(other))
    return {name: getattr(value, name) for name in public if name in known}


def has_signed(token: object) -> bool:
    """Whether the package has signed `token` itself, from the API key in the environment.

    It does so as its `Options` or `JobContext` are made, and sets `VIDEOSDK_AUTH_TOKEN` to it. The
    token is valid for an hour and never renewed, so that nothing of ours should keep it.
    """
    utils = sys.modules.get(f"{PACKAGE}.utils")
    signed = getattr(utils, "_generated_token_cache", None)
    return signed is not None and token == signed


def described(value: object) -> str:
    """The class of `value` for an error: with its module, where the name alone would mislead."""
    cls = type(value)
    return (
        cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    )
