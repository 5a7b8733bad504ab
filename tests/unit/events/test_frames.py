"""What we say to the broker is what the client library would say, and what it says is read as the library reads it."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from pamqp import frame as library
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from kassa.events import frames
from kassa.events.frames import Message

CHANNEL = 7
HEADERS = {"kassa-subject": "order:ünï-1", "kassa-sequence": 3, "kassa-merchant-id": "shop-7"}


def said(data: bytes) -> list[Any]:
    """The frames as the library reads them, each of our channel."""
    found = []
    while data:
        size, channel, frame = library.unmarshal(data)
        assert channel == CHANNEL
        found.append(frame)
        data = data[size:]
    return found


def heard(what: Any) -> tuple[bytes, int, int]:
    """A frame as the library writes it, and where its payload begins and ends."""
    data = library.marshal(what, CHANNEL)
    return data, 7, len(data) - 1


# ── what we say ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_message_begins_with_its_exchange_and_key() -> None:
    wanted = Basic.Publish(exchange="payments", routing_key="order.paid", mandatory=True)
    assert frames.opening(CHANNEL, "payments", "order.paid") == library.marshal(wanted, CHANNEL)


def test_a_message_says_what_the_contract_wants() -> None:
    message = Message("order.paid", "an-id", "order.paid", b'{"a":1}', HEADERS)
    header, body = said(frames.content(CHANNEL, message, 131_072))
    properties = header.properties
    assert (header.body_size, body.value) == (7, b'{"a":1}')
    assert (properties.content_type, properties.delivery_mode) == ("application/json", 2)
    assert (properties.message_id, properties.message_type, properties.headers) == ("an-id", "order.paid", HEADERS)
    assert [name for name in properties.__slots__ if getattr(properties, name)] == [
        "content_type",
        "headers",
        "delivery_mode",
        "message_id",
        "message_type",
    ]


@pytest.mark.parametrize("size", [0, 1, 91, 92, 93, 184, 185, 1000])
def test_a_body_is_sent_in_frames_that_are_not_too_long(size: int) -> None:
    body = bytes(n % 251 for n in range(size))
    data = frames.content(CHANNEL, Message("k", "i", "t", body), 100)
    header, *bodies = said(data)
    assert header.body_size == size
    assert all(isinstance(each, ContentBody) and len(each.value) + 8 <= 100 for each in bodies)
    assert b"".join(each.value for each in bodies) == body


@pytest.mark.parametrize("number", [0, 1, 127, 128, -1, 40_000, 3_000_000_000, 2**62])
def test_numbers_arrive_as_they_are(number: int) -> None:
    [header] = said(frames.content(CHANNEL, Message("k", "i", "t", b"", {"n": number}), 100_000))
    assert header.properties.headers == {"n": number}


def test_what_is_too_long_for_its_place_is_not_cut() -> None:
    with pytest.raises(ValueError, match="range"):
        frames.opening(CHANNEL, "payments", "x" * 256)
    with pytest.raises(ValueError, match="range"):
        frames.content(CHANNEL, Message("k", "i" * 256, "t", b""), 100_000)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (frames.acknowledged(CHANNEL, 2**40), Basic.Ack(delivery_tag=2**40)),
        (frames.rejected(CHANNEL, 9), Basic.Reject(delivery_tag=9, requeue=False)),
        (frames.given_back(CHANNEL, 9), Basic.Reject(delivery_tag=9, requeue=True)),
    ],
)
def test_a_delivery_is_settled_as_the_library_would(ours: bytes, theirs: Any) -> None:
    assert ours == library.marshal(theirs, CHANNEL)


# ── what the broker says ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize(("kind", "number"), [(Basic.Ack, frames.ACK), (Basic.Nack, frames.NACK)])
def test_confirmations_are_read(kind: Any, number: int, many: bool) -> None:
    data, at, _ = heard(kind(delivery_tag=2**33 + 1, multiple=many))
    assert frames.head(data, 0) == (frames.METHOD, CHANNEL, len(data) - 8)
    assert frames.method(data, at) == (number,)
    assert frames.read_confirm(data, at) == (2**33 + 1, many)


def test_a_delivery_is_read() -> None:
    data, at, _ = heard(
        Basic.Deliver(consumer_tag="ctag1.x", delivery_tag=77, redelivered=True, exchange="payments", routing_key="order.paid")
    )
    assert frames.method(data, at) == (frames.DELIVER,)
    assert frames.read_deliver(data, at) == (77, "order.paid")
    back, at, _ = heard(Basic.Return(reply_code=312, reply_text="NO_ROUTE", exchange="payments", routing_key="order.paid"))
    assert frames.method(back, at) == (frames.RETURN,)


def read(**properties: Any) -> frames.Properties:
    data, at, end = heard(ContentHeader(body_size=2**33, properties=Basic.Properties(**properties)))
    return frames.read_properties(b"\xff" * 5 + data, at + 5, end + 5)


def test_what_we_published_is_read() -> None:
    message = Message("order.paid", "an-id", "order.paid", b"{}", HEADERS)
    data = frames.content(CHANNEL, message, 131_072)
    _, _, length = frames.head(data, 0)
    found = frames.read_properties(data, 7, 7 + length)
    assert (found.body_size, found.message_id) == (2, "an-id")
    assert {name: value for name, value in found.headers.items() if isinstance(value, str)} == {
        "kassa-subject": "order:ünï-1",
        "kassa-merchant-id": "shop-7",
    }


def test_the_id_is_found_behind_everything_that_may_stand_before_it() -> None:
    everything = dict.fromkeys(
        ("content_type", "content_encoding", "correlation_id", "reply_to", "expiration", "message_type"), "some"
    )
    found = read(message_id="an-id", headers={"k": "v"}, delivery_mode=1, priority=9, app_id="a", **everything)
    assert (found.body_size, found.message_id, found.headers) == (2**33, "an-id", {"k": "v"})
    assert read(content_type="x").message_id is None
    assert read().headers == {}


def test_headers_of_all_kinds_are_passed_and_texts_are_read() -> None:
    values: dict[str, Any] = {
        "bool": True, "byte": 1, "short": 1000, "unsigned": 65_000, "long": 10**6, "big": 4 * 10**9, "huge": 2**40, "real": 1.5,
        "money": Decimal("1.25"), "none": None, "when": datetime(2026, 1, 1, tzinfo=UTC), "raw": bytearray(b"abc"),
        "table": {"inner": "text"}, "list": ["a", 1], "empty": "",
    }  # fmt: skip
    found = read(headers={**values, "first": "one", "x-last": "two"}, message_id="an-id")
    assert found.message_id == "an-id"
    assert list(found.headers) == sorted([*values, "first", "x-last"])
    assert {name: value for name, value in found.headers.items() if isinstance(value, str)} == {
        "first": "one",
        "x-last": "two",
        "empty": "",
    }
    assert found.headers["raw"] == b"abc"


def test_a_text_that_is_none_is_bytes() -> None:
    data, at, end = heard(ContentHeader(body_size=1, properties=Basic.Properties(headers={"k": "abc"})))
    assert frames.read_properties(data.replace(b"abc", b"a\xffc"), at, end).headers == {"k": b"a\xffc"}


def test_what_cannot_be_read_is_a_message_without_an_id() -> None:
    whole, at, end = heard(ContentHeader(body_size=5, properties=Basic.Properties(message_id="an-id", headers={"k": "v"})))
    assert frames.read_properties(whole, at, end).message_id == "an-id"
    cut = end - 3
    assert frames.read_properties(whole[:cut], at, cut) == frames.Properties(5, None, {})
    strange = whole.replace(b"\x01kS", b"\x01k?")
    assert frames.read_properties(strange, at, end) == frames.Properties(5, None, {})
    endless = whole.replace(b"S\x00\x00\x00\x01", b"S\xff\xff\xff\xff")
    assert frames.read_properties(endless, at, end) == frames.Properties(5, None, {})
    unreadable = whole.replace(b"an-id", b"an\xffid")
    assert frames.read_properties(unreadable, at, end) == frames.Properties(5, None, {})
