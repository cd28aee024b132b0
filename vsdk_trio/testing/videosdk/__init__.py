"""A stand-in for the hosted room service, good enough for the unmodified `videosdk` package.

It serves REST over TLS, the signaling over a WebSocket, and reflects media between the members of a
room, all on 127.0.0.1. Agents join it as they join the hosted service:

    async with open_fake_videosdk() as videosdk:
        os.environ["REQUESTS_CA_BUNDLE"] = str(videosdk.ca_file)  # before the job starts
        options = RoomOptions(signaling_base_url=videosdk.signaling_base_url)
        ...  # run a job with these options; it creates a room and joins it
        room = await videosdk.wait_for_room()
        bob = room.add_person("bob")
        await bob.speak(tone(440, seconds=1.0))
        room.remove("bob")

`videosdk.faults` makes it refuse, stall or stay silent; `drop()` and `silence()` cut the network.

Needs the extra `videosdk`: in a clone, `pip install -e '.[videosdk]'`. Data channels open, but
nothing is forwarded on them; there is no video. Must not share code with the transport that it is
there to test.
"""

from __future__ import annotations

from .person import Person
from .room import FakeRoom, Faults, RefusedError
from .service import FakeVideoSDK, open_fake_videosdk

__all__ = ["FakeRoom", "FakeVideoSDK", "Faults", "Person", "RefusedError", "open_fake_videosdk"]
