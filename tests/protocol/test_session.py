"""One session: what each frame amounts to in each state."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from vsdk_trio._masking import hide
from vsdk_trio.errors import IllegalTransitionError
from vsdk_trio.protocol.messages import (
    AvailabilityRequest,
    JobAssignment,
    JobTermination,
    WorkerMessage,
    WorkerPong,
)
from vsdk_trio.protocol.session import (
    IgnoredFrame,
    ProtocolSession,
    ProtocolSessionState,
    Registered,
    RegistrationRefusal,
)

REGISTRATION = WorkerMessage("register", worker_id="w1", token="s3cret")
TRAFFIC: dict[str, tuple[dict[str, Any], object]] = {
    "availability_request": ({"job_id": "j"}, AvailabilityRequest(job_id="j")),
    "job_assignment": ({"job_id": "j", "wait": True}, JobAssignment(job_id="j", wait=True)),
    "job_termination": ({"job_id": "j"}, JobTermination(job_id="j")),
    "pong": ({"timestamp": 5}, WorkerPong(timestamp=5)),
}


def frame(kind: str, **fields: Any) -> str:
    return json.dumps({"type": kind, **fields})


def registered_session() -> ProtocolSession:
    session = ProtocolSession(REGISTRATION)
    assert isinstance(session.received(frame("register", success=True)), Registered)
    return session


def test_registration() -> None:
    session = ProtocolSession(REGISTRATION)
    assert session.registration is REGISTRATION
    assert session.state is ProtocolSessionState.AWAITING_REGISTRATION
    answer = frame("register", success=True, worker_id="w2", payload={"a": 1})
    assert session.received(answer) == Registered("w2", {"a": 1})
    assert session.state is ProtocolSessionState.REGISTERED
    assert repr(session) == "<ProtocolSession: REGISTERED>"


@pytest.mark.parametrize(("own", "expected"), [("w1", "w1"), ("", ""), (None, "")])
def test_an_answer_without_an_id_leaves_the_worker_its_own(own: str | None, expected: str) -> None:
    session = ProtocolSession(WorkerMessage("register", worker_id=own))
    assert session.received(frame("register", success=True)) == Registered(expected, {})


@pytest.mark.parametrize("fields", [{"success": False}, {"success": None}, {}])
def test_anything_but_success_is_a_refusal(fields: dict[str, Any]) -> None:
    session = ProtocolSession(WorkerMessage("register"))
    assert session.received(frame("register", message="no seat", **fields)) == RegistrationRefusal(
        "no seat"
    )
    assert session.state is ProtocolSessionState.CLOSED
    session.closed()  # its owner closes the socket, and says so as always


def test_a_refusal_always_says_something_and_never_the_token() -> None:
    assert ProtocolSession(REGISTRATION).received(
        frame("register", success=False)
    ) == RegistrationRefusal("the registry gave no reason")
    hide("s3cret")  # as it is where a token is read
    quoting = frame("register", success=False, message="malformed: s3cret")
    assert ProtocolSession(REGISTRATION).received(quoting) == RegistrationRefusal("malformed: ***")
    endless = ProtocolSession(REGISTRATION).received(
        frame("register", success=False, message="x" * 9999)
    )
    assert endless == RegistrationRefusal("x" * 500)


@pytest.mark.parametrize("kind", TRAFFIC)
def test_traffic_comes_through_once_registered(kind: str) -> None:
    fields, message = TRAFFIC[kind]
    assert registered_session().received(frame(kind, **fields)) == message


@pytest.mark.parametrize("kind", TRAFFIC)
def test_traffic_before_the_registration_is_ignored(kind: str) -> None:
    fields, _ = TRAFFIC[kind]
    session = ProtocolSession(REGISTRATION)
    event = session.received(frame(kind, **fields))
    assert isinstance(event, IgnoredFrame)
    assert event.kind == f"early: {kind}"
    assert session.state is ProtocolSessionState.AWAITING_REGISTRATION
    assert isinstance(session.received(frame("register", success=True)), Registered)


def test_a_second_answer_is_ignored() -> None:
    session = registered_session()
    event = session.received(frame("register", success=False))
    assert isinstance(event, IgnoredFrame)
    assert event.kind == "repeated: register"
    assert session.state is ProtocolSessionState.REGISTERED


@pytest.mark.parametrize("make", [lambda: ProtocolSession(REGISTRATION), registered_session])
@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("{", "malformed"),
        ("[]", "malformed"),
        (b"\xff", "malformed"),
        (frame("job_termination"), "malformed"),
        (frame("register", success="yes"), "malformed"),
        (frame("newer"), "unknown: newer"),
        (frame("x" * 1000), f"unknown: {'x' * 64}"),
    ],
)
def test_bad_frames_never_end_a_session(make: Any, text: str | bytes, kind: str) -> None:
    session = make()
    before = session.state
    event = session.received(text)
    assert isinstance(event, IgnoredFrame)
    assert event.kind == kind
    assert len(event.detail) < 600
    assert session.state is before


class SessionMachine(RuleBasedStateMachine):
    """Any frames in any order, against the three states written down as plainly as possible."""

    def __init__(self) -> None:
        super().__init__()
        self.session = ProtocolSession(REGISTRATION)
        self.state = "AWAITING_REGISTRATION"

    @precondition(lambda self: self.state != "CLOSED")
    @rule(success=st.sampled_from([True, False, None]))
    def answer(self, success: bool | None) -> None:
        event = self.session.received(frame("register", success=success))
        if self.state == "REGISTERED":
            assert isinstance(event, IgnoredFrame)
        elif success:
            assert isinstance(event, Registered)
            self.state = "REGISTERED"
        else:
            assert isinstance(event, RegistrationRefusal)
            self.state = "CLOSED"

    @precondition(lambda self: self.state != "CLOSED")
    @rule(kind=st.sampled_from(sorted(TRAFFIC)))
    def traffic(self, kind: str) -> None:
        fields, message = TRAFFIC[kind]
        event = self.session.received(frame(kind, **fields))
        assert event == message if self.state == "REGISTERED" else isinstance(event, IgnoredFrame)

    @precondition(lambda self: self.state != "CLOSED")
    @rule(text=st.text() | st.binary())
    def junk(self, text: str | bytes) -> None:
        assert isinstance(self.session.received(text), IgnoredFrame)

    @precondition(lambda self: self.state == "CLOSED")
    @rule(kind=st.sampled_from(["register", *sorted(TRAFFIC), "newer"]))
    def frame_after_the_end(self, kind: str) -> None:
        with pytest.raises(IllegalTransitionError):
            self.session.received(frame(kind, success=True, job_id="j"))

    @rule()
    def close(self) -> None:
        self.session.closed()
        self.state = "CLOSED"

    @invariant()
    def the_states_agree(self) -> None:
        assert self.session.state.name == self.state


TestSessionMachine = SessionMachine.TestCase


def test_what_the_registry_writes_stays_on_one_line() -> None:
    refusal = frame("register", success=False, message="a\nb\x1b[2J")
    assert ProtocolSession(REGISTRATION).received(refusal) == RegistrationRefusal("a b [2J")
    deep: dict[str, Any] = {}
    for _ in range(40):
        deep = {"a\nb": deep}
    session = ProtocolSession(REGISTRATION)
    for text in (frame("dance\nERROR"), frame("register", payload=deep)):
        event = session.received(text)
        assert isinstance(event, IgnoredFrame)
        assert event.kind.isprintable()
        assert event.detail.isprintable()
