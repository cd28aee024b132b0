"""The user's functions that run in the worker: `load_fnc` and `request_fnc`.

Foreign code: whatever one raises or returns must not cost a call.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable

import trio

from ..errors import OptionsError
from ..jobs.admission import Refusal, RefusalCause
from ..options.worker import JobRequest, RequestFnc
from ..protocol.messages import AvailabilityRequest
from ..system.threads import run_in_thread
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


async def ask_request_fnc(
    request_fnc: RequestFnc, request: AvailabilityRequest, *, timeout_seconds: float
) -> Refusal | None:
    """What the user's `request_fnc` decides: None to take the job, or the reason for a no.

    A plain function runs in a thread, so that one that blocks holds nothing up; where it takes too
    long, it is left behind there. Whatever it raises is the reason for a no.
    """
    job = JobRequest(
        job_id=request.job_id,
        job_type=request.job_type,
        room_id=request.room_id,
        room_name=request.room_name,
        agent_name=request.agent_name,
        namespace=request.namespace,
    )
    with trio.move_on_after(timeout_seconds):
        try:
            if inspect.iscoroutinefunction(request_fnc):
                answer = await request_fnc(job)
            else:
                answer = await run_in_thread(
                    "call request_fnc", request_fnc, job, abandon_on_cancel=True
                )
        except Exception as error:  # foreign code; the error goes where it is read
            fields = {"job_id": job.job_id, "room_id": job.room_id}
            logger.exception("request_fnc raised", extra=fields)
            text = f"request_fnc raised {type(error).__name__}: {error}"
            return Refusal(RefusalCause.BROKEN, text)
        match answer:
            case True | None:
                return None
            case str() if answer:
                return Refusal(RefusalCause.DECLINED, answer)
            case False:
                return Refusal(RefusalCause.DECLINED, "refused by request_fnc")
        text = f"request_fnc must return a bool, None or a reason, got {type(answer).__name__}"
        return Refusal(RefusalCause.BROKEN, text)
    text = f"request_fnc did not decide within {timeout_seconds:g} s"
    return Refusal(RefusalCause.UNDECIDED, text)
