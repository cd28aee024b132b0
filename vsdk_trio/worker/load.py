"""How loaded the worker is: what it tells the registry, and what an offer is measured against."""

from __future__ import annotations

import math
from collections.abc import Callable

from ..errors import OptionsError
from ..jobs.admission import Admission
from ..telemetry.logs.loggers import get_logger

logger = get_logger(__name__)


class Load:
    """The load of a worker: the share of slots in use, or what `load_fnc` says."""

    def __init__(self, admission: Admission, load_fnc: Callable[[], float] | None) -> None:
        self._admission = admission
        self._load_fnc = load_fnc
        self._complained = False

    def check(self) -> None:
        """Ask `load_fnc` once. Raises `OptionsError` where it does not answer with a number."""
        if self._load_fnc is not None:
            try:
                _share(self._load_fnc())
            except Exception as error:  # foreign code: whatever it raises is told to the user
                raise OptionsError(f"option 'load_fnc' does not work: {error!r}") from error

    def for_offers(self) -> float | None:
        """What an offer is measured against `load_threshold` with; None: slots alone bound."""
        if self._load_fnc is None:
            return None
        try:
            return _share(self._load_fnc())
        except Exception as error:  # foreign code: a broken gauge must not cost a call
            if not self._complained:
                self._complained = True
                logger.error("load_fnc failed; slots alone bound from now on: %r", error)
            return None

    def to_report(self) -> float:
        """The load that the registry is told, from 0 to 1."""
        measured = self.for_offers()
        return self._admission.share_in_use if measured is None else measured


def _share(value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
        raise TypeError(f"load_fnc must return a number from 0 to 1, got {value!r}")
    return min(max(float(value), 0.0), 1.0)
