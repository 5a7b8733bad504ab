"""What arrives over a line to the broker goes to whoever took its channel, and everything else to the library, cut anywhere."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from pamqp import frame as library
from pamqp.body import ContentBody
from pamqp.commands import Basic, Channel, Queue
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat

from kassa.events import frames
from kassa.events.frames import DELIVER, Properties
from kassa.events.line import _Tap

OURS, THEIRS = 2, 5
HEADERS = {"kassa-merchant-id": "1"}


class Ours:
    """Takes deliveries."""

    def __init__(self) -> None:
        self.tags: list[int] = []
        self.messages: list[Properties] = []
        self.gone = 0

    def begin(self, method: int, data: bytes, at: int) -> bool | None:
        if method != DELIVER:
            return None
        self.tags.append(frames.read_deliver(data, at)[0])
        return True

    def whole(self, message: Properties) -> None:
        self.messages.append(message)

    def lost(self) -> None:
        self.gone += 1


class Library(asyncio.Protocol):
    """Who stood on the line first."""

    def __init__(self) -> None:
        self.heard = b""
        self.gone = 0

    def data_received(self, data: bytes) -> None:
        self.heard += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone += 1


class Transport(asyncio.Transport):
    """The line itself."""

    def __init__(self) -> None:
        super().__init__()
        self.library = Library()
        self.protocol: asyncio.BaseProtocol = self.library
        self.aborted = False

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self.protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def abort(self) -> None:
        self.aborted = True


def delivery(tag: int, *bodies: bytes, channel: int = OURS) -> bytes:
    """A message as it arrives."""
    parts: list[Any] = [
        Basic.Deliver(consumer_tag="c", delivery_tag=tag, exchange="payments", routing_key="order.paid"),
        ContentHeader(body_size=sum(map(len, bodies)), properties=Basic.Properties(message_id=f"id-{tag}", headers=dict(HEADERS))),
        *map(ContentBody, bodies),
    ]
    return b"".join(library.marshal(part, channel) for part in parts)


BEAT = library.marshal(Heartbeat(), 0)
ANSWER = library.marshal(Queue.DeclareOk(queue="q", message_count=1, consumer_count=1), THEIRS)
CLOSE = library.marshal(Channel.Close(reply_code=404, reply_text="gone", class_id=0, method_id=0), OURS)
STREAM = [
    (BEAT, True), (delivery(1, b"{}"), False), (ANSWER, True), (delivery(2), False), (delivery(3, b"a" * 90, b"b" * 20), False),
    (delivery(4, b"theirs", channel=THEIRS), True), (delivery(5, b"x"), False), (BEAT, True), (CLOSE, True),
]  # fmt: skip


@pytest.mark.parametrize("step", [1, 2, 3, 5, 7, 8, 11, 64, 100, 10_000])
def test_each_frame_finds_its_way_however_it_arrives(step: int) -> None:
    transport, ours = Transport(), Ours()
    tap = _Tap(transport)
    tap.take(OURS, ours)
    data = b"".join(part for part, _ in STREAM)
    for at in range(0, len(data), step):
        tap.data_received(data[at : at + step])
    assert transport.library.heard == b"".join(part for part, theirs in STREAM if theirs)
    assert ours.tags == [1, 2, 3, 5]
    assert [(each.message_id, each.body_size, each.headers) for each in ours.messages] == [
        (f"id-{tag}", size, HEADERS) for tag, size in ((1, 2), (2, 0), (3, 110), (5, 1))
    ]


def test_what_nobody_has_taken_is_the_librarys() -> None:
    transport = Transport()
    tap = _Tap(transport)
    data = b"".join(part for part, _ in STREAM)
    tap.data_received(data)
    assert transport.library.heard == data


def test_what_is_no_frame_is_the_librarys_to_judge() -> None:
    transport = Transport()
    tap = _Tap(transport)
    tap.data_received(b"AMQP\x00\x00\x09\x01")
    assert transport.library.heard == b"AMQP\x00\x00\x09\x01"


def test_a_frame_without_its_end_ends_the_line(caplog: pytest.LogCaptureFixture) -> None:
    transport, ours = Transport(), Ours()
    tap = _Tap(transport)
    tap.take(OURS, ours)
    broken = bytearray(delivery(1, b"{}"))
    broken[-1] = 0
    with caplog.at_level(logging.WARNING):
        tap.data_received(bytes(broken))
    assert transport.aborted
    assert "without an end" in caplog.text


def test_an_end_is_told_to_all() -> None:
    transport, ours = Transport(), Ours()
    tap = _Tap(transport)
    tap.take(OURS, ours)
    tap.connection_lost(None)
    assert (ours.gone, transport.library.gone) == (1, 1)
