"""The media plane of the fake: DTLS and RTP from those who send to those who listen. asyncio.

Everything here lives in the asyncio thread. Heavy: import it there. Must not know rooms, peers or
the signaling.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import Any

from vsaiortc.rtcdtlstransport import (  # pyright: ignore[reportMissingImports]
    RTCCertificate,
    RTCDtlsFingerprint,
    RTCDtlsParameters,
    RTCDtlsTransport,
)
from vsaiortc.rtcrtpparameters import (  # pyright: ignore[reportMissingImports]
    RTCRtpCodecParameters,
    RTCRtpDecodingParameters,
    RTCRtpReceiveParameters,
)
from vsaiortc.rtcsctptransport import (  # pyright: ignore[reportMissingImports]
    RTCSctpCapabilities,
    RTCSctpTransport,
)
from vsaiortc.rtp import RtpPacket  # pyright: ignore[reportMissingImports]

from .ice import IceLite
from .tracks import Track

_FIND_SECONDS = 10.0
SCTP_PORT = 5000
MAX_DATA_BYTES = 262144


class MediaTransport:
    """The fake's end of one WebRTC transport of the SDK: it sends, or it receives."""

    def __init__(self, host: str) -> None:
        self.id = secrets.token_hex(8)
        self._ice = IceLite(host)
        below: Any = self._ice  # which is not of vsaiortc's class, but does what is asked of it
        self._dtls = RTCDtlsTransport(below, [RTCCertificate.generateCertificate()])
        self._sctp = RTCSctpTransport(self._dtls, SCTP_PORT)
        self._connecting: asyncio.Task[None] | None = None
        self._forwards: dict[str, Track] = {}

    async def open(self) -> dict[str, Any]:
        """Bind its socket; returns what the SDK has to know of it."""
        await self._ice.listen()
        prints = self._dtls.getLocalParameters().fingerprints
        return {
            "id": self.id,
            "iceParameters": {
                "usernameFragment": self._ice.user,
                "password": self._ice.password,
                "iceLite": True,
            },
            "iceCandidates": [
                {
                    "foundation": "udpcandidate",
                    "ip": self._ice.host,
                    "port": self._ice.port,
                    "priority": 1076302079,
                    "protocol": "udp",
                    "type": "host",
                }
            ],
            "dtlsParameters": {
                "role": "auto",
                "fingerprints": [{"algorithm": p.algorithm, "value": p.value} for p in prints],
            },
            "sctpParameters": {
                "port": SCTP_PORT,
                "OS": 1024,
                "MIS": 1024,
                "maxMessageSize": MAX_DATA_BYTES,
            },
        }

    async def connect(self, dtls: dict[str, Any]) -> None:
        """Shake hands with the SDK's end, in the background."""
        if self._connecting is None:
            self._connecting = asyncio.ensure_future(self._connect(dtls))

    async def _connect(self, dtls: dict[str, Any]) -> None:
        self._dtls._set_role("server" if dtls["role"] == "client" else "client")
        with contextlib.suppress(TimeoutError, ConnectionError):
            await asyncio.wait_for(self._ice.found.wait(), _FIND_SECONDS)
            prints = [RTCDtlsFingerprint(p["algorithm"], p["value"]) for p in dtls["fingerprints"]]
            await self._dtls.start(RTCDtlsParameters(fingerprints=prints))
            await self._sctp.start(RTCSctpCapabilities(MAX_DATA_BYTES), SCTP_PORT)

    async def receive(self, track: Track, rtp: dict[str, Any]) -> None:
        """Have what the SDK sends by these parameters go to `track`."""
        codecs = [
            RTCRtpCodecParameters(
                mimeType=codec["mimeType"],
                clockRate=codec["clockRate"],
                channels=codec.get("channels"),
                payloadType=codec["payloadType"],
            )
            for codec in rtp["codecs"]
        ]
        encodings = [
            RTCRtpDecodingParameters(ssrc=one["ssrc"], payloadType=rtp["codecs"][0]["payloadType"])
            for one in rtp["encodings"]
        ]
        parameters = RTCRtpReceiveParameters(codecs=codecs, encodings=encodings)
        self._dtls._register_rtp_receiver(_Inlet(track), parameters)

    async def forward(self, track: Track, key: str, ssrc: int, payload_type: int) -> None:
        """Send what comes on `track` to the SDK, under this source and type, until `stop(key)`."""

        async def send(packet: Any) -> None:
            if self._dtls.state == "connected":
                copy = RtpPacket(
                    payload_type=payload_type,
                    marker=packet.marker,
                    sequence_number=packet.sequence_number,
                    timestamp=packet.timestamp,
                    ssrc=ssrc,
                    payload=packet.payload,
                )
                with contextlib.suppress(ConnectionError):
                    await self._dtls._send_rtp(copy.serialize())

        self._forwards[key] = track
        track.listen(key, send)

    async def stop(self, key: str) -> None:
        """Forward this one no longer."""
        track = self._forwards.pop(key, None)
        if track is not None:
            track.forget(key)

    async def silence(self) -> None:
        """Neither hear nor answer anything from now on."""
        self._ice.is_silent = True

    async def close(self) -> None:
        """Say goodbye and close the socket."""
        for key in list(self._forwards):
            await self.stop(key)
        if self._connecting is not None:
            self._connecting.cancel()
        with contextlib.suppress(ConnectionError):
            await self._dtls.stop()
        self._ice.close()


class _Inlet:
    """Where vsaiortc delivers packets to."""

    def __init__(self, track: Track) -> None:
        self._track = track

    async def _handle_rtp_packet(self, packet: Any, arrival_time_ms: int) -> None:
        await self._track.feed(packet)

    async def _handle_rtcp_packet(self, packet: Any) -> None:
        """Reports of the sender are nobody's business here."""

    def _handle_disconnect(self) -> None:
        """Its owner closes the track."""
