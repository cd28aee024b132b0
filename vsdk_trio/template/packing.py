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

_filling: list[object] = []


def pack(codes: list[CodeType]) -> None:
    """Move `codes` together: each function that has one of them gets an equal one.

    Those that others than their function hold, or look at, stay where they are.
    """
    gc.unfreeze()  # or they would not be found
    fill_holes()
    owners = {
        id(thing.__code__): thing for thing in gc.get_objects() if type(thing) is FunctionType
    }
    for code in codes:
        function = owners.get(id(code))
        # Held by its function, `codes`, `code`, and as the argument of `getrefcount`.
        if function and sys.getrefcount(code) == 4 and not weakref.getweakrefcount(code):
            function.__code__ = code.replace()


def fill_holes() -> None:
    """Use up the free blocks in pools that are partly used, so that new ones come next."""
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


def _make_block(size: int, number: int) -> object:
    """An object that takes a block of `size` bytes, and was not there before."""
    match size:
        case 16:
            return object()
        case 32:
            return (1 << 30) + number
    return bytes(size - sys.getsizeof(b""))
