"""What a transport cannot do of what the room options ask for. Said before a room is joined.

Recording, pictures and the dashboard are the hosted service's. A job that asks for them where they
cannot be had would run, and nobody would know. Must not know jobs.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import OptionsError
from ..options.room import RoomOptions, TransportMode

_HOSTED = frozenset({TransportMode.VIDEOSDK})
_WITH_CODECS = frozenset({TransportMode.VIDEOSDK, TransportMode.WEBRTC})


def check_transport(options: RoomOptions, mode: TransportMode) -> tuple[str, ...]:
    """Raise `OptionsError` for what `mode` cannot do and the job may rely on.

    Returns what is merely without effect, as texts for the log. A loopback room stands in for
    every other one, so there all of it is.
    """
    demands = tuple(_demands(options, mode))
    if demands and mode is not TransportMode.LOOPBACK:
        raise OptionsError(
            f"transport_mode={mode.value!r} cannot do what RoomOptions({', '.join(demands)}) asks "
            "for: that needs transport_mode='videosdk'"
        )
    return tuple(
        f"RoomOptions({wish}) has no effect with transport_mode={mode.value!r}"
        for wish in (*demands, *_wishes(options, mode))
    )


def _demands(options: RoomOptions, mode: TransportMode) -> Iterator[str]:
    """What the job may rely on, as it was written."""
    observability = options.observability
    if mode not in _HOSTED:
        if options.recording:
            yield "recording=True"
        if observability is not None and observability.recording is not None:
            yield "observability.recording"
        if options.vision:
            yield "vision=True"
    if mode not in _WITH_CODECS and options.audio_codec is not None:
        yield f"audio_codec={options.audio_codec!r}"


def _wishes(options: RoomOptions, mode: TransportMode) -> Iterator[str]:
    """What is good to have, as it was written."""
    if mode in _HOSTED:
        return
    if options.send_logs_to_dashboard:
        yield "send_logs_to_dashboard=True"
    if options.avatar is not None:
        yield "avatar"
    grouped = options.observability
    for name in ("traces", "metrics", "logs"):
        part = getattr(grouped, name, None) or getattr(options, name)
        if part.export_url is not None:
            yield f"{name}.export_url"
    if (getattr(grouped, "logs", None) or options.logs).send_to_dashboard:
        yield "logs.send_to_dashboard=True"
