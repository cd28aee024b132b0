"""The message classes against the reference: names, order, defaults, and what they print."""

from __future__ import annotations

import subprocess
import sys

import attrs
import pytest

from vsdk_trio.protocol import messages
from vsdk_trio.protocol.messages import (
    AvailabilityRequest,
    AvailabilityResponse,
    JobAssignment,
    JobStatus,
    JobTermination,
    JobUpdate,
    ServerMessage,
    UpdateJobStatus,
    UpdateWorkerStatus,
    WireMessage,
    WorkerMessage,
    WorkerPing,
    WorkerPong,
    WorkerStatus,
)

# class -> {field: default}; payload, wait and timeout are of the published client.
REFERENCE: dict[type[WireMessage], str] = {
    AvailabilityRequest: "type=availability_request job_id= job_type= room_id= room_name="
    " agent_name= namespace=",
    AvailabilityResponse: "type=availability_response job_id= available=False error=None"
    " token=None",
    JobAssignment: "type=job_assignment job_id= job_type= room_id= room_name= agent_name="
    " namespace= token= url= room_options=None metadata=None wait=False timeout=None",
    JobTermination: "type=job_termination job_id= reason=None",
    JobUpdate: "type=job_update job_id= status= error=None participant_identity=None"
    " participant_name=None participant_metadata=None",
    ServerMessage: "type worker_id=None success=None message=None job_id=None job_type=None"
    " room_id=None room_name=None agent_name=None namespace=None token=None url=None payload=None",
    UpdateJobStatus: "job_id status error=None participant_identity=None participant_name=None"
    " participant_metadata=None",
    UpdateWorkerStatus: "status load=None job_count=None error=None",
    WorkerMessage: "type worker_id=None agent_name=None namespace=None version=None"
    " capabilities=None status=None load=None job_count=None job_id=None available=None"
    " participant_identity=None participant_name=None participant_metadata=None error=None"
    " registry_uuid=None max_capacity=None current_load=None token=None load_threshold=None"
    " max_processes=None",
    WorkerPing: "type=ping timestamp=None",
    WorkerPong: "type=pong timestamp=None",
}
CLASSES = pytest.mark.parametrize("cls", REFERENCE, ids=lambda cls: cls.__name__)


@CLASSES
def test_fields_order_and_defaults_are_the_references(cls: type[WireMessage]) -> None:
    described = " ".join(
        field.name if field.default is attrs.NOTHING else f"{field.name}={field.default}"
        for field in attrs.fields(cls)
    )
    assert described == REFERENCE[cls]


@CLASSES
def test_a_message_is_positional_mutable_and_compared_by_value(cls: type[WireMessage]) -> None:
    values = [f"value {index}" for index, _ in enumerate(attrs.fields(cls))]
    message, twin = cls(*values), cls(*values)
    assert message == twin
    last = attrs.fields(cls)[-1].name
    setattr(message, last, "another")
    assert message != twin
    assert list(message.dict().values()) == [*values[:-1], "another"]


def test_dict_drops_none_and_keeps_what_is_falsy() -> None:
    assert AvailabilityResponse(job_id="").dict() == {
        "type": "availability_response",
        "job_id": "",
        "available": False,
    }
    assert WorkerMessage("status_update", load=0.0, job_count=0).dict() == {
        "type": "status_update",
        "load": 0.0,
        "job_count": 0,
    }


def test_dict_is_shallow() -> None:
    metadata = {"nested": {"none": None}}
    assert JobAssignment(metadata=metadata).dict()["metadata"] is metadata


@pytest.mark.parametrize(
    "message",
    [
        WorkerMessage("register", token="s3cret"),
        ServerMessage("register", token="s3cret"),
        AvailabilityResponse(token="s3cret"),
        JobAssignment(token="s3cret"),
    ],
    ids=lambda message: type(message).__name__,
)
def test_no_repr_shows_a_token(message: WireMessage) -> None:
    assert "s3cret" not in repr(message)
    assert message.dict()["token"] == "s3cret"


def test_no_repr_shows_what_an_application_put_in() -> None:
    hidden = {"auth_token": "s3cret"}
    assert "s3cret" not in repr(JobAssignment(room_options=hidden, metadata=hidden))
    assert "s3cret" not in repr(ServerMessage("register", payload=hidden))


def test_enums_are_the_references() -> None:
    assert {member.name: member.value for member in WorkerStatus} == {
        "IDLE": "idle",
        "BUSY": "busy",
        "OFFLINE": "offline",
        "ERROR": "error",
    }
    assert {member.name: member.value for member in JobStatus} == {
        "PENDING": "pending",
        "RUNNING": "running",
        "COMPLETED": "completed",
        "FAILED": "failed",
        "CANCELLED": "cancelled",
    }
    assert JobStatus.RUNNING == "running"
    assert str(WorkerStatus.IDLE) == "WorkerStatus.IDLE"


def test_the_classes_alone_load_neither_cattrs_nor_orjson() -> None:
    program = (
        f"import sys, {messages.__name__}; print({{'cattrs', 'orjson', 'trio'}} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("set()", "")
