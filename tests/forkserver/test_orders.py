"""What worker and template say to each other survives the way, and nothing else is taken."""

from __future__ import annotations

import pytest

from vsdk_trio.errors import FrameError
from vsdk_trio.forkserver.orders import (
    MAX_ORDER_BYTES,
    Brief,
    ChildExited,
    Declined,
    Fork,
    Forked,
    ForkFailed,
    Order,
    TemplateFailed,
    TemplateReady,
    decode_order,
    encode_order,
)


@pytest.mark.parametrize(
    "order",
    [
        Brief(entrypoint={"module": "agent"}, preload=["numpy"], cautious=False),
        Fork(id=1, cookie="c.1", argv=["python", "-m", "x"], env={"A": "\udce4", "B": None}),
        TemplateReady(seconds=0.5, warnings=["careful"]),
        TemplateFailed(reason="threads", lasting=True),
        Forked(id=1, pid=7),
        ForkFailed(id=1, errno=11, error="no memory"),
        Declined(id=1, reason="old"),
        ChildExited(pid=7, returncode=-9),
    ],
    ids=lambda order: type(order).__name__,
)
def test_each_order_comes_out_as_it_went_in(order: Order) -> None:
    assert decode_order(encode_order(order)) == order


def test_what_does_not_fit_into_a_packet_is_an_error() -> None:
    with pytest.raises(FrameError, match=r"fork: \d+ bytes, more than"):
        encode_order(Fork(id=1, cookie="", argv=[], env={"A": "x" * MAX_ORDER_BYTES}))


@pytest.mark.parametrize(
    ("packet", "said"),
    [
        (b"\xff", "not a packet of JSON"),
        (b"[]", "unknown type"),
        (b'{"type": "spoon"}', "unknown type"),
        (b'{"type": 3}', "unknown type"),
        (b'{"type": "forked", "id": 1}', "pid is missing"),
        (b'{"type": "fork", "id": 1, "cookie": "", "argv": [1]}', "argv must be a list of strings"),
    ],
)
def test_anything_else_is_one_clear_error(packet: bytes, said: str) -> None:
    with pytest.raises(FrameError, match=said):
        decode_order(packet)


def test_an_order_does_not_show_the_environment() -> None:
    assert "s3cret" not in repr(Fork(id=1, cookie="", argv=[], env={"TOKEN": "s3cret"}))
