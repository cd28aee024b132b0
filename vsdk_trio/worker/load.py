"""The user's gauge of load, `load_fnc`: called, checked, and borne with where it fails."""

from __future__ import annotations

import math
from collections.abc import Callable

from ..errors import OptionsError
from ..telemetry.logs.loggers import get_logger

logger = get_logger(__name__)


class LoadGauge:
    """Measures with `load_fnc`; without one it measures nothing.

    Raises `OptionsError` at once where `load_fnc` does not return a number.
    """

    def __init__(self, load_fnc: Callable[[], float] | None) -> None:
        self._load_fnc = load_fnc
        self._has_complained = False
        if load_fnc is not None:
            try:
                _share(load_fnc())
            except Exception as error:  # foreign code: the user reads whatever it raises
                raise OptionsError(f"option 'load_fnc' does not work: {error!r}") from error

    def measure(self) -> float | None:
        """The load from 0 to 1; None without a `load_fnc`, or where it fails: slots alone bound."""
        if self._load_fnc is None:
            return None
        try:
            return _share(self._load_fnc())
        except Exception as error:  # foreign code: a broken gauge must not cost a call
            if not self._has_complained:
                self._has_complained = True
                logger.error("load_fnc failed; slots alone bound from now on: %r", error)
            return None


def _share(value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
        raise TypeError(f"load_fnc must return a number from 0 to 1, got {value!r}")
    return min(max(float(value), 0.0), 1.0)
