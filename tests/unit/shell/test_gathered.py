"""The head of an answer travels with its body, and never waits for one that does not come."""

from __future__ import annotations

import asyncio

from kassa.cli.connections import Gathered

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"


class Wire(asyncio.Transport):
    """What was written, write by write."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


async def gathered() -> tuple[Wire, Gathered]:
    wire = Wire()
    return wire, Gathered(wire, asyncio.get_running_loop())


async def test_head_and_body_are_one_write() -> None:
    wire, ours = await gathered()
    ours.write(HEAD)
    ours.write(b"ok")
    await asyncio.sleep(0)
    assert wire.written == [HEAD + b"ok"]


async def test_a_head_whose_body_comes_later_goes_out_at_once() -> None:
    wire, ours = await gathered()
    ours.write(HEAD)
    assert wire.written == []
    await asyncio.sleep(0)
    assert wire.written == [HEAD]
    ours.write(b"data: 1\n\n")
    ours.write(b"data: 2\n\n")
    assert wire.written == [HEAD, b"data: 1\n\n", b"data: 2\n\n"]


async def test_two_answers_in_a_row_keep_their_order() -> None:
    wire, ours = await gathered()
    for body in (b"1", b"2"):
        ours.write(HEAD)
        ours.write(body)
    ours.write(HEAD)
    ours.write(HEAD)
    await asyncio.sleep(0)
    assert b"".join(wire.written) == HEAD + b"1" + HEAD + b"2" + HEAD + HEAD


async def test_what_is_left_goes_out_before_it_is_closed() -> None:
    wire, ours = await gathered()
    ours.write(HEAD)
    ours.close()
    assert wire.written == [HEAD]
    assert ours.is_closing()
    await asyncio.sleep(0)
    assert wire.written == [HEAD]


async def test_after_an_abort_nothing_is_written() -> None:
    wire, ours = await gathered()
    ours.write(HEAD)
    ours.abort()
    await asyncio.sleep(0)
    assert wire.written == []
