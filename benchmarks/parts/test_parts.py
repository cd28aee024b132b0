"""The small parts on the way of a job, each by itself: for pytest-benchmark."""

from __future__ import annotations

import json
from typing import Any

from vsdk_trio.control.frames import JobInfo, Running, Start, decode_frame, encode_frame
from vsdk_trio.options.room import RoomOptions
from vsdk_trio.protocol.codec import decode_from_registry, encode
from vsdk_trio.protocol.messages import JobUpdate
from vsdk_trio.protocol.outbox import Outbox

OPTIONS = RoomOptions(transport_mode="loopback")
OVERLAY = {"recording": False, "auto_end_session": True}
ASSIGNMENT = json.dumps(
    {
        "type": "job_assignment",
        "job_id": "job-1",
        "room_id": "room",
        "token": "t" * 200,
        "room_options": OVERLAY,
        "metadata": {"number": 1},
    }
)
JOB = JobInfo(job_id="job-1", token="t" * 200, room_options=OPTIONS.changes_to_wire())
START = Start(job=JOB.to_dict())
UPDATE = JobUpdate(job_id="job-1", status="running")


def test_decode_an_assignment(benchmark: Any) -> None:
    benchmark(decode_from_registry, ASSIGNMENT)


def test_encode_an_update(benchmark: Any) -> None:
    benchmark(encode, UPDATE)


def test_lay_room_options_over_the_defaults(benchmark: Any) -> None:
    wire = OPTIONS.changes_to_wire()
    benchmark(lambda: OPTIONS.merge_on_wire(dict(wire), OVERLAY))


def test_encode_a_start_frame(benchmark: Any) -> None:
    benchmark(encode_frame, START)


def test_decode_a_start_frame(benchmark: Any) -> None:
    benchmark(decode_frame, encode_frame(START))


def test_encode_a_running_frame(benchmark: Any) -> None:
    benchmark(encode_frame, Running())


def test_read_a_job(benchmark: Any) -> None:
    benchmark(JobInfo.from_dict, JOB.to_dict())


def test_pass_an_update_through_the_outbox(benchmark: Any) -> None:
    outbox = Outbox()
    outbox.session_opened(1)

    def pass_one() -> None:
        outbox.put(UPDATE)
        item = outbox.next()
        assert item is not None
        outbox.sent(item, 0.0)
        outbox.pong(outbox.next_ping(0))

    benchmark(pass_one)
