"""The words of the signaling: protoo's frames, and the answers of the room service.

Pure: makes values out of values. Must not know sockets or rooms.
"""

from __future__ import annotations

import json
from typing import Any

Json = dict[str, Any]

NO_ICE_SERVERS = "DGO2b2NTLB3rcWF9q/O+Pg=="
"""An empty list, encrypted as the service does it: on one machine no relay is needed."""

_AUDIO_CODECS: tuple[tuple[str, int, int, int], ...] = (
    ("audio/opus", 48000, 2, 100),
    ("audio/PCMU", 8000, 1, 0),
    ("audio/PCMA", 8000, 1, 8),
)

ROUTER_CAPABILITIES: Json = {
    "codecs": [
        *(
            {
                "kind": "audio",
                "mimeType": mime_type,
                "clockRate": clock_rate,
                "channels": channels,
                "preferredPayloadType": payload_type,
                "parameters": {},
                "rtcpFeedback": [],
            }
            for mime_type, clock_rate, channels, payload_type in _AUDIO_CODECS
        ),
        {
            "kind": "video",
            "mimeType": "video/VP8",
            "clockRate": 90000,
            "preferredPayloadType": 101,
            "parameters": {},
            "rtcpFeedback": [{"type": "nack"}, {"type": "nack", "parameter": "pli"}],
        },
    ],
    "headerExtensions": [],
}


def router_codec(mime_type: str) -> Json:
    """How the router calls a codec; raises `KeyError` for one that it does not know."""
    for codec in ROUTER_CAPABILITIES["codecs"]:
        if codec["mimeType"].lower() == mime_type.lower():
            return dict(codec)
    raise KeyError(mime_type)


def request(number: int, method: str, data: Json) -> str:
    """A request of the service."""
    return json.dumps({"request": True, "id": number, "method": method, "data": data})


def notification(method: str, data: Json) -> str:
    """A notification of the service."""
    return json.dumps({"notification": True, "method": method, "data": data})


def answer(number: int, data: Json) -> str:
    """A yes."""
    return json.dumps({"response": True, "id": number, "ok": True, "data": data})


def refusal(number: int, code: int, reason: str) -> str:
    """A no."""
    frame = {"response": True, "id": number, "ok": False, "errorCode": code, "errorReason": reason}
    return json.dumps(frame)


def server_config(signaling_url: str, room_id: str) -> Json:
    """The answer to `server-init-config`."""
    return {
        "data": {
            "baseUrl": signaling_url.partition("://")[2],
            "signalingUrl": signaling_url,
            "iceServers": NO_ICE_SERVERS,
            "observability": {
                "jwt": "",
                "traces": {"enabled": False},
                "logs": {"enabled": False},
                "metaData": {"roomId": room_id},
            },
        }
    }


def peer(peer_id: str, name: str, metadata: Json | None, peer_type: str) -> Json:
    """The data by which the others learn of a member."""
    return {
        "id": peer_id,
        "displayName": name,
        "metaData": metadata or {},
        "device": "Unknown",
        "deviceInfo": {},
        "mode": "SEND_AND_RECV",
        "peerType": peer_type,
    }


def new_consumer(
    key: str, track_id: str, kind: str, peer_id: str, codec: Json, ssrc: int, mid: str
) -> Json:
    """The data of `newConsumer`: a member's track can be received."""
    return {
        "id": key,
        "producerId": track_id,
        "kind": kind,
        "peerId": peer_id,
        "appData": {"encodings": [{}], "share": False, "peerId": peer_id},
        "rtpParameters": {
            "mid": mid,
            "codecs": [
                {
                    "mimeType": codec["mimeType"],
                    "payloadType": codec["preferredPayloadType"],
                    "clockRate": codec["clockRate"],
                    "channels": codec.get("channels"),
                    "parameters": {},
                    "rtcpFeedback": [],
                }
            ],
            "headerExtensions": [],
            "encodings": [{"ssrc": ssrc}],
            "rtcp": {"cname": key, "reducedSize": True, "mux": True},
        },
    }
