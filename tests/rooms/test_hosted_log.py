"""What of the SDK's log is masked, dropped and made use of; without the SDK."""

from __future__ import annotations

import logging
import threading

import pytest

from vsdk_trio._masking import hide
from vsdk_trio.rooms.hosted.sdk import Phase, SdkLog

TOKEN = "eyJhbGciOiJIUzI1NiJ9.secret+token/of=a.job"
client = logging.getLogger("videosdk.room_client")
socket = logging.getLogger("websockets.client")
foreign = logging.getLogger("app")


@pytest.fixture
def log() -> SdkLog:
    hide(TOKEN)
    return SdkLog(threading.get_ident())


def test_tokens_are_masked_everywhere(log: SdkLog, caplog: pytest.LogCaptureFixture) -> None:
    log.phase = Phase.STAYING
    with log.attached():
        socket.warning("> GET /?secret=%s HTTP/1.1", TOKEN)
        client.error(f"wss://host/?secret={TOKEN}")
        logging.getLogger("asyncio").error(
            "quoted: secret=eyJhbGciOiJIUzI1NiJ9.secret%2Btoken%2Fof%3Da.job"
        )
        try:
            raise ValueError(f"{TOKEN} is no URI")
        except ValueError:
            client.error("failed", exc_info=True)
    assert len(caplog.records) == 4
    assert "secret" not in caplog.text.replace("secret=", "")
    assert caplog.text.count("***") >= 4


def test_what_was_open_before_is_left_as_it_was(log: SdkLog) -> None:
    level = client.level
    with log.attached(), log.finding_causes():
        assert client.isEnabledFor(logging.DEBUG)
    assert (client.level, client.filters, logging.getLogger("videosdk").level) == (level, [], 0)


def test_the_cause_is_found_in_what_nobody_is_to_read(
    log: SdkLog, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="app")
    error = OSError("no route")
    with log.attached(), log.finding_causes():
        # This is how the SDK logs it: there is no place for the argument.
        client.debug("ERROR", error)
        client.error("Failed to Join :: no route")
        foreign.info("another one's")
    assert log.error is error
    assert log.last_error == "Failed to Join :: no route"
    assert [record.message for record in caplog.records] == ["another one's"]


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ({"ok": False, "errorCode": 403, "errorReason": "no entry"}, "no entry (403)"),
        ({"ok": False}, "refused (no code)"),
        ({"ok": True, "errorReason": "none"}, ""),
    ],
)
def test_a_refusal_is_noted(log: SdkLog, response: dict[str, object], reason: str) -> None:
    with log.attached(), log.finding_causes():
        client.debug(f"signal :: response message :: {response}")
    assert log.refusal == reason


def test_junk_for_a_response_is_no_refusal(log: SdkLog) -> None:
    with log.attached(), log.finding_causes():
        client.debug("signal :: response message :: {'ok': False, <object>}")
    assert log.refusal == ""


def test_it_speaks_while_it_stays_and_from_warning_on(
    log: SdkLog, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with log.attached():
        log.phase = Phase.STAYING
        client.info("chatter")
        client.warning("news")
        log.phase = Phase.LEAVING
        client.error('chat DataProducer "close" event')
    assert [record.message for record in caplog.records] == ["news"]


def test_a_level_that_somebody_chose_is_kept(log: SdkLog, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="videosdk")
    with log.attached():
        log.phase = Phase.LEAVING
        client.debug("all of it")
    assert [record.message for record in caplog.records] == ["all of it"]


def test_two_rooms_do_not_mix(log: SdkLog, caplog: pytest.LogCaptureFixture) -> None:
    """Each takes note of its own thread only, and both mask."""
    hide("another-secret")
    other = SdkLog(thread=0)
    other.phase = Phase.LEAVING
    log.phase = Phase.STAYING
    with log.attached(), other.attached(), other.finding_causes():
        client.error("mine, with another-secret")
        client.info("chatter")
        with log.finding_causes():
            client.debug("ERROR", OSError("mine"))
    assert [record.message for record in caplog.records] == ["mine, with ***"]
    assert (str(log.error), other.error, other.last_error) == ("mine", None, "")
    assert not client.level


def test_a_level_chosen_for_one_logger_holds_while_causes_are_sought(
    log: SdkLog, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger=client.name)
    with log.attached(), log.finding_causes():
        client.info("wanted")
        client.debug("unwanted")
    assert [record.message for record in caplog.records] == ["wanted"]
    assert client.level == logging.INFO


def test_a_logger_that_does_not_exist_yet_is_masked_too(
    log: SdkLog, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first connection makes the logger of `websockets`; the line with the token is its."""
    monkeypatch.delitem(logging.root.manager.loggerDict, "websockets.client")
    log.phase = Phase.STAYING
    with log.attached():
        logging.getLogger("websockets.client").warning("GET /?secret=%s", TOKEN)
    assert [record.message for record in caplog.records] == ["GET /?secret=***"]
