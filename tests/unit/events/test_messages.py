"""What is published of an event, and what is believed of a message that arrives."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import orjson
import pytest
from pamqp.commands import Basic
from pamqp.frame import marshal

from kassa.events import frames
from kassa.events.broker import RETRY, Broker, Incoming, _Consumer, message_of
from kassa.events.catalogue import STATUS_CHANGES, TYPES
from kassa.events.envelope import Recorded
from kassa.events.line import Line
from kassa.webhooks.consume import _read

EVENT = uuid.UUID("019b76da-b1f0-7b21-9c3d-6e5f4a3b2c1d")
DELIVERY = uuid.UUID("019b76da-b1f0-7b21-a111-6e5f4a3b2c1d")
DATA = '{"payment_id":"p","order_id":"A-7","status":2,"amount":"2","price":"349.70","currency":"USD"}'


def event(type_: str = "payment.paid", merchant_id: str = "1") -> Recorded:
    return Recorded(merchant_id, EVENT, "payment:p", 3, type_, 1, datetime(2026, 1, 1, 0, 0, 2, tzinfo=UTC), DATA)


@pytest.mark.parametrize("type_", TYPES)
def test_status_changes_have_one_key_and_everything_else_its_own(type_: str) -> None:
    assert message_of(event(type_)).routing_key == ("payment.updated" if type_ in STATUS_CHANGES else type_)


def test_a_message_names_its_event_and_its_place_in_the_subject() -> None:
    message = message_of(event())
    assert (message.message_id, message.type) == (str(EVENT), "payment.paid")
    assert message.headers == {"kassa-subject": "payment:p", "kassa-sequence": 3, "kassa-merchant-id": "1"}
    assert orjson.loads(message.body) == {
        "payment_id": "p",
        "order_id": "A-7",
        "merchant_id": 1,
        "status": 2,
        "amount": "2",
        "price": "349.70",
    }


def test_a_later_attempt_differs_by_key_and_headers_alone() -> None:
    first, again = message_of(event()), message_of(event(), RETRY, kassa_delivery_id="d", kassa_endpoint_id="e")
    assert again.routing_key == "delivery.retry"
    assert dict(again.headers) == {**first.headers, "kassa-delivery-id": "d", "kassa-endpoint-id": "e"}
    assert (again.body, again.message_id, again.type) == (first.body, first.message_id, first.type)


def test_only_payments_are_published_in_the_old_shape() -> None:
    assert orjson.loads(message_of(event("refund.created")).body)["data"] == orjson.loads(DATA)


def incoming(headers: dict[str, Any], message_id: str | None = str(EVENT), routing_key: str = "order.paid") -> Any:
    return SimpleNamespace(headers=headers, message_id=message_id, routing_key=routing_key)


def test_what_a_relay_published_is_understood() -> None:
    message = message_of(event(merchant_id="shop-7"))
    read = _read(incoming(dict(message.headers), message.message_id, message.routing_key))
    assert read is not None
    merchant_id, asked = read
    assert (merchant_id, asked.event_id, asked.delivery_id) == ("shop-7", EVENT, None)


def test_a_later_attempt_names_its_delivery() -> None:
    read = _read(incoming({"kassa-merchant-id": "1", "kassa-delivery-id": str(DELIVERY)}, routing_key=RETRY))
    assert read is not None
    assert read[1].delivery_id == DELIVERY


@pytest.mark.parametrize(
    ("headers", "message_id", "key"),
    [
        ({}, str(EVENT), "order.paid"),
        ({"kassa-merchant-id": 1}, str(EVENT), "order.paid"),
        ({"kassa-merchant-id": b"1"}, str(EVENT), "order.paid"),
        ({"kassa-merchant-id": ""}, str(EVENT), "order.paid"),
        ({"kassa-merchant-id": "a b"}, str(EVENT), "order.paid"),
        ({"kassa-merchant-id": "1\x00"}, str(EVENT), "order.paid"),
        ({"kassa-merchant-id": "x" * 65}, str(EVENT), "order.paid"),
        ({"kassa-merchant-id": "1"}, None, "order.paid"),
        ({"kassa-merchant-id": "1"}, "", "order.paid"),
        ({"kassa-merchant-id": "1"}, str(EVENT).upper(), "order.paid"),
        ({"kassa-merchant-id": "1"}, "{" + str(EVENT) + "}", "order.paid"),
        ({"kassa-merchant-id": "1"}, str(EVENT), RETRY),
        ({"kassa-merchant-id": "1", "kassa-delivery-id": "x"}, str(EVENT), RETRY),
        ({"kassa-merchant-id": "1", "kassa-delivery-id": 7}, str(EVENT), "order.paid"),
    ],
)
def test_anything_else_is_not(headers: dict[str, Any], message_id: str | None, key: str) -> None:
    assert _read(incoming(headers, message_id, key)) is None


def test_a_message_that_nobody_could_take_leaves_the_next_one_alone(caplog: pytest.LogCaptureFixture) -> None:
    taken: list[str | None] = []
    said: list[bytes] = []

    def take(message: Incoming) -> None:
        if message.message_id == "bad":
            raise RuntimeError("canary")
        taken.append(message.message_id)
        message.done()
        message.refuse()
        message.give_back()

    consumer = _Consumer(cast("Line", SimpleNamespace(write=said.append)), 4, take)
    for tag, name in ((1, "bad"), (2, "good")):
        data = marshal(Basic.Deliver(consumer_tag="c", delivery_tag=tag, exchange="e", routing_key="order.paid"), 4)
        assert consumer.begin(frames.DELIVER, data, 7) is True
        consumer.whole(frames.Properties(2, name, {}))
    assert taken == ["good"]
    assert said == [frames.acknowledged(4, 2), frames.rejected(4, 2), frames.given_back(4, 2)]
    assert "a message was not taken" in caplog.text


def test_a_broker_does_not_show_its_address() -> None:
    shown = repr(Broker("amqp://user:canary@broker.example/", "payments", "payments.merchant"))
    assert "canary" not in shown
    assert "user" not in shown
