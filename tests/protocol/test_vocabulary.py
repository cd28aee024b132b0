"""The table of status words, both ways."""

from __future__ import annotations

from itertools import product

import pytest

from vsdk_trio.protocol.vocabulary import (
    JobFact,
    VocabularyName,
    WorkerFact,
    read_job_status,
    vocabulary,
)

NAMES: tuple[VocabularyName, ...] = ("deployed", "documented")


@pytest.mark.parametrize(
    ("fact", "deployed", "documented"),
    [
        (WorkerFact.IDLE, "available", "idle"),
        (WorkerFact.BUSY, "available", "busy"),
        (WorkerFact.FULL, "available", "busy"),
        (WorkerFact.DRAINING, "draining", "busy"),
        (WorkerFact.OFFLINE, "offline", "offline"),
        (WorkerFact.ERROR, "offline", "error"),
    ],
)
def test_words_for_a_worker(fact: WorkerFact, deployed: str, documented: str) -> None:
    assert vocabulary("deployed").worker_word(fact) == deployed
    assert vocabulary("documented").worker_word(fact) == documented


@pytest.mark.parametrize(
    ("fact", "deployed", "documented"),
    [
        (JobFact.RUNNING, "running", "running"),
        (JobFact.COMPLETED, "completed", "completed"),
        (JobFact.FAILED, "failed", "failed"),
        (JobFact.CANCELLED, "completed", "cancelled"),
        (JobFact.NOT_BEGUN, "failed", "cancelled"),
    ],
)
def test_words_for_a_job(fact: JobFact, deployed: str, documented: str) -> None:
    assert vocabulary("deployed").job_word(fact) == deployed
    assert vocabulary("documented").job_word(fact) == documented


@pytest.mark.parametrize(
    ("name", "fact"), [pair for pair in product(NAMES, JobFact) if pair[1] is not JobFact.NOT_BEGUN]
)
def test_a_registry_reads_back_what_a_worker_meant(name: VocabularyName, fact: JobFact) -> None:
    error = "why" if fact in (JobFact.FAILED, JobFact.CANCELLED) else None
    assert read_job_status(vocabulary(name).job_word(fact), error) is fact


def test_a_call_that_never_took_place_is_never_read_as_completed() -> None:
    read = {
        name: read_job_status(vocabulary(name).job_word(JobFact.NOT_BEGUN), "why") for name in NAMES
    }
    assert read == {"deployed": JobFact.FAILED, "documented": JobFact.CANCELLED}


def test_an_empty_error_cancels_nothing() -> None:
    assert read_job_status("completed", "") is JobFact.COMPLETED


@pytest.mark.parametrize("word", ["", "pending", "RUNNING", "done"])
def test_an_unknown_word_says_nothing(word: str) -> None:
    assert read_job_status(word, None) is None


@pytest.mark.parametrize("name", NAMES)
def test_every_fact_has_a_word(name: VocabularyName) -> None:
    words = vocabulary(name)
    assert words.name == name
    assert all(words.worker_word(fact) for fact in WorkerFact)
    assert all(words.job_word(fact) for fact in JobFact)
