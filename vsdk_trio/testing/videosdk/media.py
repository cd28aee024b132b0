"""The fake's media plane: ICE, DTLS, RTP and Opus, in an asyncio thread.

Imports vsaiortc and av, which are slow to load: import it in a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from typing import Any, cast

from aioice import stun  # pyright: ignore[reportMissingImports]
from av import AudioFrame  # pyright: ignore[reportMissingImports]
from vsaiortc.codecs.opus import (  # pyright: ignore[reportMissingImports]
    OpusDecoder,
    OpusEncoder,
)
from vsaiortc.jitterbuffer import JitterFrame  # pyright: ignore[reportMissingImports]
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

from .room import Track

_MOST_WAITING = 1000


class IceLite(asyncio.DatagramProtocol):
    """One UDP socket on `host`. `is_silent` makes it deaf and mute, as a cut network is."""

    role = "controlled"  # the SDK's side controls
    state = "completed"

    def __init__(self, host: str) -> None:
        self.host = host
        self.port = 0
        self.user = secrets.token_hex(4)
        self.password = secrets.token_hex(12)
        self.is_silent = False
        self.found = asyncio.Event()
        self._peer: tuple[str, int] | None = None
        self._arrived: asyncio.Queue[bytes | None] = asyncio.Queue(_MOST_WAITING)
        self._socket: asyncio.DatagramTransport | None = None

    async def listen(self) -> None:
        """Bind the socket."""
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: self, local_addr=(self.host, 0))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._socket = cast(asyncio.DatagramTransport, transport)
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        if self.is_silent or not data:
            return
        if data[0] >= 4:  # not STUN
            if not self._arrived.full():
                self._arrived.put_nowait(data)
            return
        try:
            message = stun.parse_message(data)
        except ValueError:
            return
        if message.message_class == stun.Class.REQUEST:
            self._answer(message, addr)

    def _answer(self, check: Any, addr: tuple[str | Any, int]) -> None:
        answer = stun.Message(
            message_method=stun.Method.BINDING,
            message_class=stun.Class.RESPONSE,
            transaction_id=check.transaction_id,
        )
        answer.attributes["XOR-MAPPED-ADDRESS"] = addr
        answer.add_message_integrity(self.password.encode())
        if self._peer is None or "USE-CANDIDATE" in check.attributes:
            self._peer = addr
            self.found.set()
        self._put_out(bytes(answer), addr)

    def _put_out(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        if self._socket is not None and not self._socket.is_closing():
            self._socket.sendto(data, addr)

    # What vsaiortc's DTLS transport asks of what is below it.

    async def _recv(self) -> bytes:
        data = await self._arrived.get()
        if data is None:
            raise ConnectionError
        return data

    async def _send(self, data: bytes) -> None:
        if self._peer is not None and not self.is_silent:
            self._put_out(data, self._peer)

    def close(self) -> None:
        """Close the socket; readers get a `ConnectionError`."""
        if self._arrived.full():
            self._arrived.get_nowait()
        self._arrived.put_nowait(None)
        if self._socket is not None:
            self._socket.close()


_PACKET_SAMPLES = 960


class SyntheticVoice:
    """Says PCM on a track."""

    def __init__(self, track: Track) -> None:
        self._track = track
        self._encoder = OpusEncoder()
        self._number = secrets.randbits(15)
        self._timestamp = secrets.randbits(31)
        self._samples = 0

    async def say(self, data: bytes, sample_rate: int, channels: int) -> None:
        """Send a piece of sound, once there is enough of it for a packet."""
        samples = len(data) // (2 * channels)
        layout = "mono" if channels == 1 else "stereo"
        frame = AudioFrame(format="s16", layout=layout, samples=samples)
        frame.planes[0].update(data.ljust(frame.planes[0].buffer_size, b"\0"))
        frame.sample_rate = sample_rate
        frame.pts = self._samples
        self._samples += samples
        payloads, _ = self._encoder.encode(frame)
        for payload in payloads:
            packet = RtpPacket(
                sequence_number=self._number, timestamp=self._timestamp, payload=payload
            )
            self._number = (self._number + 1) & 0xFFFF
            self._timestamp = (self._timestamp + _PACKET_SAMPLES) & 0xFFFFFFFF
            await self._track.feed(packet)


class Ear:
    """Hears packets of a track as PCM: 48000 Hz, two channels, 16 bits."""

    def __init__(self, put: Callable[[bytes], object]) -> None:
        self._put = put
        self._decoder = OpusDecoder()

    async def packet(self, packet: Any) -> None:
        """One more packet."""
        frames: list[Any] = self._decoder.decode(JitterFrame(packet.payload, packet.timestamp))
        for frame in frames:
            self._put(bytes(frame.planes[0])[: frame.samples * 4])


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
        """Ignore reports of the sender."""

    def _handle_disconnect(self) -> None:
        """Its owner closes the track."""
