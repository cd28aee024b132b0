"""Puts together what forks write to, so that few pages become a fork's own.

A fork copies each page that it writes to, and it writes to an object by merely using it: the
reference count is in it. A call writes to the function's code, a new object goes into a hole
between old ones, and a page is copied for each. So code that jobs run is moved together, and holes
are filled, so that new objects lie in new pages, side by side.

Knows how CPython allocates; where that is otherwise, less is shared, and nothing breaks. Must not
know jobs.
"""

from __future__ import annotations

import gc
import os
import sys
import weakref
from types import CodeType, FunctionType

# CPython's allocator has a kind of pool for each size of block. See its Objects/obmalloc.c.
_POOL_BYTES = 16 << 10
_POOL_HEAD_BYTES = 48
_BLOCK_SIZES = range(16, 512 + 1, 16)
_FIRST_BLOCKS = 4
"""As many blocks one behind the other, from a pool's first on, say that the pool is a new one."""
_FILL_BYTES = 8 << 20
"""More than this is not filled, whatever is found."""

_LARGE_SIZES = (
    100_000,
    50_000,
    20_000,
    10_000,
    5_000,
    2_000,
    1_500,
    1_000,
    800,
    700,
    600,
    550,
    500,
)
"""Larger blocks are the C library's business, below 128 KiB from its heap."""

_filling: list[object] = []


def pack(ids: set[int]) -> None:
    """Move the code objects with these ids together: whoever holds one gets an equal one.

    Those that are watched stay where they are: Trio, for one, notes by weak references which code
    is protected from interrupts.
    """
    gc.unfreeze()  # or they would not be found
    fill_holes()
    moved: dict[int, CodeType] = {}

    def move(code: CodeType) -> CodeType:
        if id(code) not in ids or weakref.getweakrefcount(code):
            return code
        if id(code) not in moved:
            # With the code of what it defines: lambdas, comprehensions, functions within it.
            consts = (move(x) if isinstance(x, CodeType) else x for x in code.co_consts)
            moved[id(code)] = code.replace(co_consts=tuple(consts))
            _filling.append(code)  # or the next one would go where this was
        return moved[id(code)]

    for thing in gc.get_objects():
        if type(thing) is FunctionType and id(thing.__code__) in ids:
            thing.__code__ = move(thing.__code__)


def fill_holes() -> None:
    """Use up the free blocks between used ones, so that new objects lie beside each other.

    Does nothing where Python was told to use another allocator, whose holes are its own matter.
    """
    if sys.flags.dev_mode or os.environ.get("PYTHONMALLOC"):
        return
    filled = 0
    for size in _BLOCK_SIZES:
        in_a_row = last = number = 0
        while in_a_row < _FIRST_BLOCKS and filled < _FILL_BYTES:
            block = _make_block(size, number)
            place = id(block)
            if in_a_row and last < place < last + _FIRST_BLOCKS * size:
                in_a_row += 1
            else:
                in_a_row = (place - _POOL_HEAD_BYTES) % _POOL_BYTES == 0
            last = place
            number += 1
            filled += size
            _filling.append(block)
    for size in _LARGE_SIZES:
        # What lies before this came from a hole: it is at the heap's end, if not far beyond.
        end = id(bytes(_LARGE_SIZES[0]))
        while id(block := bytes(size)) < end and filled < _FILL_BYTES:
            filled += size
            _filling.append(block)


def _make_block(size: int, number: int) -> object:
    """An object that takes a block of `size` bytes, and was not there before."""
    match size:
        case 16:
            return object()
        case 32:
            return (1 << 30) + number
    return bytes(size - sys.getsizeof(b""))
