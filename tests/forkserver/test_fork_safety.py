"""What a template finds in itself before it lets anybody fork it."""

from __future__ import annotations

import _thread
import os
import socket
import threading

from vsdk_trio.forkserver.program.fork_safety import open_channels, python_threads, system_threads


def test_a_thread_is_named_with_its_place() -> None:
    over = threading.Event()
    before = python_threads()
    thread = threading.Thread(target=over.wait, name="the culprit")
    thread.start()
    try:
        (found,) = set(python_threads()) - set(before)
        assert found.startswith("'the culprit' (threading.py:")
        assert system_threads()
    finally:
        over.set()
        thread.join()


def test_a_thread_that_nobody_has_registered_is_found_too() -> None:
    started, over = threading.Event(), threading.Event()

    def run() -> None:
        started.set()
        over.wait()

    before = len(python_threads())
    _thread.start_new_thread(run, ())
    started.wait()
    try:
        assert len(python_threads()) == before + 1
    finally:
        over.set()


def test_channels_are_told_from_files(tmp_path: object) -> None:
    before = open_channels()
    pair = socket.socketpair()
    reader, writer = os.pipe()
    with open(os.devnull) as null, open(__file__) as file:
        found = {fd: what for fd, what in open_channels().items() if before.get(fd) != what}
        assert null.fileno() not in found
        assert file.fileno() not in found
    os.close(reader)
    os.close(writer)
    expected = {pair[0].fileno(), pair[1].fileno(), reader, writer}
    for end in pair:
        end.close()
    assert expected <= found.keys()
