"""What comes over the wire: too large, broken, compressed, unknown. Whatever it is, the server lives."""

from __future__ import annotations

import grpc
import pytest
from grpc import StatusCode
from tests.contracts.grpc.callers import Caller, a_word, an_order, at_once, invalid, ordered, refused, request_of
from tests.contracts.grpc.conftest import Meet
from tests.contracts.grpc.contract import SERVICE, message
from tests.rig import Server

LIMIT = 64 * 1024
BROKEN = {StatusCode.INTERNAL, StatusCode.INVALID_ARGUMENT}


def padded(data: bytes, size: int) -> bytes:
    """The same message with an unknown field, so that it has exactly this size."""
    room = size - len(data) - 2 - 3  # a tag of two bytes, a length of three
    assert room >= 2**14
    length = bytes([room & 127 | 128, room >> 7 & 127 | 128, room >> 14])
    return data + b"\x9a\x06" + length + b"x" * room


def test_a_message_of_64_kib_is_taken_and_one_byte_more_is_not(server: Server, nobody: Caller) -> None:
    order = an_order()
    data = request_of(order).SerializeToString()
    assert len(padded(data, LIMIT)) == LIMIT
    assert refused(nobody.ask, "RequestPayment", padded(data, LIMIT + 1))[0] == StatusCode.RESOURCE_EXHAUSTED
    assert ordered(server, order) == []
    assert nobody.ask("RequestPayment", padded(data, LIMIT)).replayed is None
    assert nobody.pay(**order).replayed == "true"


@pytest.mark.parametrize("method", ["RequestPayment", "GetPayment", "Health"])
def test_a_much_larger_message_is_refused_by_every_method(nobody: Caller, method: str) -> None:
    assert refused(nobody.ask, method, padded(b"", 5 * 2**18))[0] == StatusCode.RESOURCE_EXHAUSTED
    assert nobody.health() == "ok"


def test_a_small_message_that_unpacks_to_a_large_one_is_refused(nobody: Caller) -> None:
    data = padded(b"", 2**20)
    answer = refused(nobody.ask, "GetPayment", data, compression=grpc.Compression.Gzip)
    assert answer[0] == StatusCode.RESOURCE_EXHAUSTED
    assert nobody.health() == "ok"


def test_gzip_is_accepted(server: Server, nobody: Caller) -> None:
    order = an_order(metadata={"note": "again and " * 50})
    zipped = nobody.ask("RequestPayment", request_of(order), compression=grpc.Compression.Gzip)
    plain = nobody.pay(**order)
    assert (plain.data, plain.replayed) == (zipped.data, "true")
    request = message("GetPaymentRequest")(payment_id=zipped.payment_id)
    assert nobody.ask("GetPayment", request, compression=grpc.Compression.Gzip).payment_id == zipped.payment_id
    assert ordered(server, order) == [zipped.payment_id]


def test_metadata_of_4_kib_are_taken_and_over_8_kib_are_not(nobody: Caller) -> None:
    assert nobody.ask("Health", more=[("x-note", "n" * 4096)]).message.status == "ok"
    for size in (9 * 1024, 9 * 1024, 12 * 1024, 40 * 1024):
        with pytest.raises(grpc.RpcError):
            nobody.ask("Health", more=[("x-note", "n" * size)])
    with pytest.raises(grpc.RpcError):
        nobody.ask("Health", more=[(f"x-note-{n}", "n" * 500) for n in range(20)])
    assert nobody.health() == "ok"


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff\xff",
        b"\x12\x05ab",
        b"\x08",
        b"\x08" + b"\xff" * 11,
        b"\x0c\x0c",
        b"{}",
        b"\x12\x02\xff\xfe",
        b"\x08\xe2\x09\x12\x03USD\x1a\x03o\xc3\x28\x22\x0akey-123456",
        b"\x2a\x06\x0a\x01\xff\x12\x01v",
    ],
    ids=["noise", "cut", "no value", "long varint", "groups", "json", "currency", "order id", "metadata"],
)
def test_broken_messages_and_strings_that_are_not_utf_8_are_refused_and_it_lives(nobody: Caller, data: bytes) -> None:
    assert refused(nobody.ask, "RequestPayment", data)[0] in BROKEN
    assert nobody.health() == "ok"


def test_a_payment_id_that_is_not_utf_8_is_refused_and_it_lives(nobody: Caller) -> None:
    assert refused(nobody.ask, "GetPayment", b"\x0a\x02\xff\xfe")[0] in BROKEN
    assert nobody.health() == "ok"


@pytest.mark.parametrize(
    "path",
    [
        f"/{SERVICE}/CancelPayment",
        f"/{SERVICE}/requestpayment",
        f"/{SERVICE}/",
        "/payments.v2.PaymentService/Health",
        "/PaymentService/Health",
        "/somebody.Else/Anything",
    ],
)
def test_what_is_not_served_is_unimplemented(nobody: Caller, path: str) -> None:
    assert refused(nobody.channel.unary_unary(path), b"", timeout=20)[0] == StatusCode.UNIMPLEMENTED


def test_an_unknown_field_is_ignored_by_every_method(nobody: Caller) -> None:
    more = b"\x98\x06\x07"
    first = nobody.ask("RequestPayment", request_of(an_order()).SerializeToString() + more)
    request = message("GetPaymentRequest")(payment_id=first.payment_id).SerializeToString()
    assert nobody.ask("GetPayment", request + more).payment_id == first.payment_id
    assert nobody.ask("Health", more).message.status == "ok"


def test_of_a_field_that_is_sent_twice_the_last_counts(nobody: Caller) -> None:
    data = request_of(an_order()).SerializeToString()
    zero = b"\x08\x00"
    assert nobody.ask("RequestPayment", zero + data).message.idempotency_key
    assert refused(nobody.ask, "RequestPayment", data + zero) == invalid("Invalid amount: amount_minor must be positive")


def test_many_calls_on_one_channel_are_answered_each_with_its_own(nobody: Caller) -> None:
    orders = [an_order() for _ in range(40)]
    answers = at_once([lambda order=order: nobody.pay(**order) for order in orders])  # type: ignore[misc]
    assert [answer.message.idempotency_key for answer in answers] == [order["idempotency_key"] for order in orders]


def test_strange_request_metadata_are_borne(server: Server, meet: Meet) -> None:
    caller = meet(server.grpc)
    for more in ([("x-note-bin", b"\x00\xff")], [("x-note", "")], [("x-request-id", "")], [("x-request-id", "r" * 2000)]):
        assert caller.ask("RequestPayment", request_of(an_order(order_id=a_word())), more=more).replayed is None
