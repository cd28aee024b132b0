"""What the reference documents of `agents.backend` is there, under the documented addresses."""

from __future__ import annotations

import inspect

import attrs
import pytest

from vsdk_trio import backend
from vsdk_trio.backend import protocol
from vsdk_trio.backend.connection import BackendConnection

CLASSES = {
    "AvailabilityRequest": "type job_id job_type room_id room_name agent_name namespace",
    "AvailabilityResponse": "type job_id available error token",
    "JobAssignment": (
        "type job_id job_type room_id room_name agent_name namespace token url room_options "
        "metadata"
    ),
    "JobTermination": "type job_id reason",
    "JobUpdate": (
        "type job_id status error participant_identity participant_name participant_metadata"
    ),
    "ServerMessage": (
        "type worker_id success message job_id job_type room_id room_name agent_name namespace "
        "token url"
    ),
    "UpdateJobStatus": (
        "job_id status error participant_identity participant_name participant_metadata"
    ),
    "UpdateWorkerStatus": "status load job_count error",
    "WorkerMessage": (
        "type worker_id agent_name namespace version capabilities status load job_count job_id "
        "available participant_identity participant_name participant_metadata error "
        "registry_uuid max_capacity current_load token load_threshold max_processes"
    ),
    "WorkerPing": "type timestamp",
    "WorkerPong": "type timestamp",
}
TYPES = (
    "register status_update availability_request availability_response job_assignment job_update "
    "job_termination ping pong"
)


@pytest.mark.parametrize("name", CLASSES)
def test_a_message_has_the_documented_fields_in_their_order(name: str) -> None:
    cls = getattr(protocol, name)
    assert getattr(backend, name) is cls
    documented = CLASSES[name].split()
    assert [field.name for field in attrs.fields(cls)][: len(documented)] == documented


def test_the_enums_have_the_documented_words() -> None:
    assert [word.value for word in protocol.WorkerStatus] == ["idle", "busy", "offline", "error"]
    assert [word.value for word in protocol.JobStatus] == [
        "pending",
        "running",
        "completed",
        "failed",
        "cancelled",
    ]


@pytest.mark.parametrize("word", TYPES.split())
def test_each_type_of_message_has_a_constant(word: str) -> None:
    assert getattr(protocol, f"MSG_TYPE_{word.upper()}") == word


def test_the_classes_have_their_constant_as_their_type() -> None:
    assert protocol.AvailabilityRequest().type == protocol.MSG_TYPE_AVAILABILITY_REQUEST
    assert protocol.AvailabilityResponse().type == protocol.MSG_TYPE_AVAILABILITY_RESPONSE
    assert protocol.JobAssignment().type == protocol.MSG_TYPE_JOB_ASSIGNMENT
    assert protocol.JobTermination().type == protocol.MSG_TYPE_JOB_TERMINATION
    assert protocol.JobUpdate().type == protocol.MSG_TYPE_JOB_UPDATE
    assert protocol.WorkerPing().type == protocol.MSG_TYPE_PING
    assert protocol.WorkerPong().type == protocol.MSG_TYPE_PONG


def test_the_connection_has_the_documented_arguments_and_methods() -> None:
    documented = (
        "auth_token agent_id worker_type version max_retry http_proxy backend_url load_threshold "
        "max_processes"
    )
    parameters = inspect.signature(BackendConnection).parameters
    assert set(documented.split()) <= parameters.keys()
    methods = (
        "worker_id is_connected on_availability on_assignment on_termination on_register on_pong "
        "connect disconnect send_message wait_for_assignment"
    )
    assert set(methods.split()) <= {*dir(BackendConnection)}
