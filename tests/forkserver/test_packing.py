"""What is put together before a fork, and what must stay where it is."""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Callable
from types import CodeType

import pytest

from vsdk_trio.forkserver.program import packing
from vsdk_trio.forkserver.program.packing import fill_holes, pack

POOL_BYTES = 16 << 10


def make(text: str) -> Callable[[], int]:
    """A function that nothing else knows the code of."""
    names: dict[str, Callable[[], int]] = {}
    exec(text, names)
    return names["function"]


def test_code_is_moved_and_works_as_before() -> None:
    function = make("def function(): return 7")
    before = function.__code__
    pack({id(before)})
    assert function.__code__ is not before
    assert function.__code__ == before
    assert function() == 7


def test_code_within_it_is_moved_with_it() -> None:
    function = make("def function(): return (lambda: 7)()")
    before = function.__code__
    inner = next(const for const in before.co_consts if isinstance(const, CodeType))
    pack({id(before), id(inner)})
    assert not any(const is inner for const in function.__code__.co_consts)
    assert function() == 7


def test_code_that_did_not_run_stays() -> None:
    function = make("def function(): return 7")
    before = function.__code__
    pack(set())
    assert function.__code__ is before


def test_code_that_others_watch_stays() -> None:
    """Trio, for one, notes by a weak reference to its code that a function is protected."""
    function = make("def function(): return 7")
    watched: weakref.ref[CodeType] = weakref.ref(function.__code__)
    pack({id(function.__code__)})
    assert watched() is function.__code__


OTHER_ALLOCATOR = sys.flags.dev_mode or "PYTHONMALLOC" in os.environ


@pytest.mark.skipif(OTHER_ALLOCATOR, reason="only the usual allocator's holes are known")
@pytest.mark.parametrize("size", range(48, 513, 16))
def test_new_objects_lie_side_by_side_once_holes_are_filled(size: int) -> None:
    in_a_pool = (POOL_BYTES - 48) // size
    old = [bytes(size - 33) for _ in range(20 * in_a_pool)]
    del old[::10]
    fill_holes()
    new = [bytes(size - 33) for _ in range(in_a_pool)]
    # Else about ten: one block in ten of each pool is free.
    assert len({id(block) // POOL_BYTES for block in new}) <= 3


def test_another_allocator_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONMALLOC", "malloc")
    before = len(packing._filling)
    fill_holes()
    assert len(packing._filling) == before
