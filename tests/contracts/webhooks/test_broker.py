"""Events through RabbitMQ: the topology, the messages, and a broker that is away (section 5; F46, F49, F50)."""

from __future__ import annotations

import contextlib
import json
import re
import time
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

import httpx2
import pytest
from tests.contracts.payments.till import BASE, NOWHERE, a_key, until
from tests.contracts.webhooks.broker import Broker, Message, Wire
from tests.contracts.webhooks.desk import DTO, STATUS_CHANGES, Office, is_envelope, quiet_for, subject_of
from tests.contracts.webhooks.merchants import BROKEN, FINE, Reply, says

if TYPE_CHECKING:
    from tests.contracts.webhooks.conftest import OpenOffice

PAID = ["payment.paid"]
THREE = ["payment.created", "payment.waiting", "payment.paid"]
QUORUM = {"x_queue_type": "quorum"}


@pytest.fixture(scope="module")
def broker(rabbitmq_url: str) -> Iterator[Broker]:
    corner = Broker(rabbitmq_url)
    yield corner
    corner.remove()


@pytest.fixture(scope="module")
def wire(broker: Broker) -> Iterator[Wire]:
    one = Wire(broker.host, broker.port)
    yield one
    one.cut()


@pytest.fixture(scope="module")
def _linked(broker: Broker, wire: Wire, open_office: OpenOffice) -> Office:
    return open_office(**broker.settings(wire.port))


@pytest.fixture
def linked(_linked: Office, broker: Broker) -> Iterator[Office]:
    """An office whose events go through the broker, over a wire that tests cut."""
    until(lambda: broker.has_queue(broker.queue), 15, "the queue is there")
    yield _linked
    _linked.clear()


def of(heard: list[Message], subject: str) -> list[Message]:
    return [each for each in list(heard) if each.headers.get("kassa-subject") == subject]


def hears(heard: list[Message], subject: str, count: int, within: float = 8) -> list[Message]:
    until(lambda: len(of(heard, subject)) >= count, within, f"{count} messages about {subject}")
    return of(heard, subject)


# Topology


def test_the_exchanges_are_as_the_table_says(linked: Office, broker: Broker) -> None:
    assert broker.is_exchange(broker.exchange, "topic")
    assert broker.is_exchange(f"{broker.exchange}.dlx", "fanout")


def test_the_queues_are_as_the_table_says(linked: Office, broker: Broker) -> None:
    wanted = {**QUORUM, "x_delivery_limit": 20, "x_dead_letter_exchange": f"{broker.exchange}.dlx"}
    assert broker.is_queue(broker.queue, **wanted)
    assert broker.is_queue(f"{broker.queue}.dead", **QUORUM)


@pytest.mark.parametrize("family", ["payment", "refund", "order", "checkout", "subscription", "endpoint", "test", "delivery"])
def test_each_family_is_bound(linked: Office, broker: Broker, family: str) -> None:
    assert broker.publish(f"{family}.anything", b"{}", message_id=f"bound-{family}")


@pytest.mark.parametrize("key", ["nonsense.paid", "payment", "payment.paid.twice", "kassa"])
def test_nothing_else_is_bound(linked: Office, broker: Broker, key: str) -> None:
    assert not broker.publish(key, b"{}")


# Messages


def test_status_changes_are_payment_updated_and_the_rest_their_type(linked: Office, broker: Broker) -> None:
    with broker.listening("#") as heard:
        payment_id = linked.paid(1)
        answer = linked.merchant().post(f"{BASE}/{payment_id}/refunds", json={}, headers={"Idempotency-Key": a_key()})
        assert answer.status_code == 201
        until(lambda: "payment.refunded" in {each.type for each in of(heard, subject_of(payment_id))}, 8, "all is published")
        for each in of(heard, subject_of(payment_id)):
            assert each.key == ("payment.updated" if each.type in STATUS_CHANGES else each.type)
        declined = linked.pay(1)
        linked.settle(declined, "failed")
        found = hears(heard, subject_of(declined), 3)
        assert [(each.type, each.key) for each in found] == [
            ("payment.created", "payment.created"),
            ("payment.waiting", "payment.waiting"),
            ("payment.declined", "payment.updated"),
        ]


def test_a_message_has_the_properties_of_the_table(linked: Office, broker: Broker) -> None:
    with broker.listening("payment.*") as heard:
        payment_id = linked.paid(2)
        found = hears(heard, subject_of(payment_id), 3)
    events = linked.feed(2, subject=subject_of(payment_id))
    assert [(each.id, each.type) for each in found] == [(event["id"], event["type"]) for event in events]
    for message, event in zip(found, events, strict=True):
        assert message.persistent
        assert message.content_type == "application/json"
        assert int(message.headers["kassa-sequence"]) == event["sequence"]
        assert str(message.headers["kassa-merchant-id"]) == "2"
        assert "kassa-delivery-id" not in message.headers


def test_a_message_about_a_payment_is_the_dto(linked: Office, broker: Broker) -> None:
    with broker.listening("payment.*") as heard:
        payment_id = linked.paid(1, order_id=(order_id := time.time_ns()), amount="2", price="349.7")
        paid = hears(heard, subject_of(payment_id), 3)[-1]
    assert paid.raw.decode() == (
        f'{{"payment_id":"{payment_id}","order_id":{order_id},"merchant_id":1,"status":2,"amount":"2","price":"349.70"}}'
    )
    assert tuple(json.loads(paid.raw)) == DTO


def test_every_other_message_is_the_envelope(linked: Office, broker: Broker) -> None:
    hook = linked.hook(1)
    with broker.listening("refund.*", "test.*") as heard:
        payment_id = linked.paid(1, price="20.00")
        linked.merchant().post(f"{BASE}/{payment_id}/refunds", json={"amount": "5.00"}, headers={"Idempotency-Key": a_key()})
        for message in hears(heard, subject_of(payment_id), 2):
            body = json.loads(message.raw)
            is_envelope(body)
            assert (body["id"], body["type"]) == (message.id, message.type)
        event_id = hook.ping()["event_id"]
        [ping] = hears(heard, f"endpoint:{hook.id}", 1)
        assert (ping.id, ping.key, json.loads(ping.raw)["id"]) == (event_id, "test.ping", event_id)


def test_there_is_one_message_for_each_event_whatever_number_of_endpoints(linked: Office, broker: Broker) -> None:
    hooks = [linked.hook(1, events=PAID) for _ in range(3)]
    with broker.listening("#") as heard:
        payment_id = linked.paid(1)
        for hook in hooks:
            hook.ends(subject_of(payment_id), "payment.paid", "success")
        quiet_for(0.5, lambda: len(of(heard, subject_of(payment_id))))
        assert [each.type for each in of(heard, subject_of(payment_id))] == THREE


def test_events_are_published_without_any_endpoint(linked: Office, broker: Broker) -> None:
    """Consumers of one's own need none."""
    with broker.listening("payment.*") as heard:
        payment_id = linked.paid(3)
        assert [each.type for each in hears(heard, subject_of(payment_id), 3)] == THREE


def test_a_consumer_of_ones_own_gets_each_event_with_one_message_id(linked: Office, broker: Broker) -> None:
    with broker.listening("payment.*") as heard:
        payments = [linked.paid(1) for _ in range(15)]
        for payment_id in payments:
            hears(heard, subject_of(payment_id), 3)
    for payment_id in payments:
        wanted = {event["id"]: event["type"] for event in linked.feed(1, subject=subject_of(payment_id))}
        assert {each.id: each.type for each in of(heard, subject_of(payment_id))} == wanted


# Deliveries


def test_deliveries_go_through_the_broker_in_order(linked: Office) -> None:
    hook = linked.hook(1)
    payment_id = linked.paid(1)
    calls = hook.waits_for(3, subject_of(payment_id))
    assert [(call.type, call.attempt) for call in calls] == [(type_, 1) for type_ in THREE]


def test_the_first_attempt_begins_within_a_second(linked: Office) -> None:
    hook = linked.hook(1, events=PAID)
    for _ in range(5):
        payment_id = linked.pay(1)
        linked.settle(payment_id)
        committed = time.monotonic()
        [call] = hook.waits_for(1, subject_of(payment_id))
        assert call.at - committed <= 1.0
        time.sleep(0.2)


def test_a_retry_is_published_anew_and_names_its_delivery(linked: Office, broker: Broker) -> None:
    hook = linked.hook(1, BROKEN, BROKEN, FINE, events=PAID)
    with broker.listening("delivery.*") as heard:
        payment_id = linked.paid(1)
        delivery = hook.ends(subject_of(payment_id), "payment.paid", "success")
        retries = [each for each in heard if each.headers.get("kassa-delivery-id") == delivery["delivery_id"]]
    assert len(retries) >= 2
    assert {(each.key, each.id) for each in retries} == {("delivery.retry", delivery["event_id"])}
    assert [call.attempt for call in hook.calls()] == [1, 2, 3]


def test_the_queue_never_holds_sleeping_messages(linked: Office, broker: Broker) -> None:
    hook = linked.hook(1, says(503, Retry_After="3600"), events=PAID)
    payment_id = linked.paid(1)
    hook.ends(subject_of(payment_id), "payment.paid", "retrying")
    until(lambda: broker.waiting(broker.queue) == 0, 5, "the queue is empty")
    quiet_for(0.6, lambda: broker.waiting(broker.queue))


# Poison


@pytest.mark.parametrize(
    ("body", "message_id"),
    [
        (b"", None),
        (b"{", None),
        (b"\x00\xff", "no-uuid"),
        (b"{}", NOWHERE),
        (b"[]", "x" * 200),
        (b'{"payment_id":1}', str(uuid.uuid4())),
    ],
    ids=["empty", "half", "bytes", "unknown event", "long id", "another event"],
)
@pytest.mark.parametrize("key", ["payment.updated", "delivery.retry"])
def test_a_message_that_makes_no_sense_is_dead_lettered_at_once(
    linked: Office, broker: Broker, key: str, body: bytes, message_id: str | None
) -> None:
    dead = f"{broker.queue}.dead"
    while broker.take(dead) is not None:
        pass
    hook = linked.hook(1, events=PAID)
    mark = f"{body!r}{uuid.uuid4()}"
    given = {"message_id": message_id} if message_id else {}
    assert broker.publish(
        key, body, headers={"mark": mark, "kassa-delivery-id": "nonsense", "kassa-merchant-id": "nobody"}, **given
    )
    payment_id = linked.pay(1)
    linked.settle(payment_id)
    committed = time.monotonic()
    [call] = hook.waits_for(1, subject_of(payment_id))
    assert call.at - committed <= 1.0

    def found() -> bool:
        message = broker.take(dead)
        return message is not None and message.headers.get("mark") == mark

    until(found, 5, "it is among the dead")
    until(lambda: broker.waiting(broker.queue) == 0, 5, "the queue is empty")


def test_a_message_that_comes_twice_is_one_delivery(linked: Office, broker: Broker) -> None:
    hook = linked.hook(1, events=PAID)
    with broker.listening("payment.*") as heard:
        payment_id = linked.paid(1)
        paid = hears(heard, subject_of(payment_id), 3)[-1]
    hook.ends(subject_of(payment_id), "payment.paid", "success")
    assert broker.publish(
        paid.key, paid.raw, message_id=paid.id, type=paid.type, content_type=paid.content_type, headers=paid.headers
    )
    quiet_for(1.2, lambda: len(hook.calls()))
    assert len(hook.calls()) == 1


# The broker is away


def ready(office: Office) -> httpx2.Response:
    return office.mall.nobody().get("/ready")


def test_while_the_broker_is_away_no_request_fails_or_slows_down(linked: Office, wire: Wire) -> None:
    hook = linked.hook(1)

    def timed() -> tuple[str, float]:
        began = time.monotonic()
        return linked.paid(1), time.monotonic() - began

    usual = max(timed()[1] for _ in range(15))
    wire.cut()
    try:
        payments, took = [], []
        for _ in range(15):
            payment_id, seconds = timed()
            payments.append(payment_id)
            took.append(seconds)
            assert ready(linked).status_code == 200
        assert max(took) < max(1.0, 3 * usual)
        for payment_id in payments:
            assert len(linked.feed(1, subject=subject_of(payment_id))) == 3
    finally:
        wire.mend()
    for payment_id in payments:
        calls = hook.waits_for(3, subject_of(payment_id), within=15)
        assert [call.sequence for call in calls] == sorted(call.sequence for call in calls)
        hook.ends(subject_of(payment_id), "payment.paid", "success", within=15)


def test_consumers_of_ones_own_get_what_happened_meanwhile(linked: Office, broker: Broker, wire: Wire) -> None:
    with broker.listening("payment.*") as heard:
        wire.cut()
        try:
            payments = [linked.paid(1) for _ in range(5)]
            time.sleep(0.5)
        finally:
            wire.mend()
        for payment_id in payments:
            found = hears(heard, subject_of(payment_id), 3, within=15)
            assert {each.id for each in found} == {event["id"] for event in linked.feed(1, subject=subject_of(payment_id))}


def test_a_link_that_is_half_open_is_given_up(linked: Office, wire: Wire) -> None:
    """F50: a publish fails within five seconds, and a new connection is made."""
    hook = linked.hook(1, events=PAID)
    wire.freeze()
    began = time.monotonic()
    payment_id = linked.paid(1)
    assert time.monotonic() - began < 1.0
    hook.ends(subject_of(payment_id), "payment.paid", "success", within=25)


def test_the_topology_is_declared_again_after_a_reconnection(linked: Office, broker: Broker, wire: Wire) -> None:
    wire.cut()
    broker.delete_queue(broker.queue)
    broker.delete_queue(f"{broker.queue}.dead")
    wire.mend()
    until(lambda: broker.has_queue(broker.queue) and broker.has_queue(f"{broker.queue}.dead"), 15, "the queues are back")
    hook = linked.hook(1, events=PAID)
    payment_id = linked.paid(1)
    hook.ends(subject_of(payment_id), "payment.paid", "success", within=15)


def test_what_was_in_flight_when_kassa_died_is_delivered(linked: Office) -> None:
    """F48: killed after the request and before the acknowledgement, the message comes again and the delivery is one."""
    hook = linked.hook(1, Reply(after=1.0), FINE, events=PAID)
    payment_id = linked.paid(1)
    hook.waits_for(1, subject_of(payment_id))
    linked.server.kill()
    linked.mall.forget_clients()
    linked.server.restart()
    hook.who = linked.merchant(1)
    hook.ends(subject_of(payment_id), "payment.paid", "success", within=25)
    assert len({call.event_id for call in hook.calls()}) == 1
    assert len(hook.calls()) == 2


def test_a_broker_that_is_missing_at_the_start_is_no_error(open_office: OpenOffice, rabbitmq_url: str) -> None:
    corner = Broker(rabbitmq_url)
    with contextlib.ExitStack() as closing:
        closing.callback(corner.remove)
        wire = Wire(corner.host, corner.port, cut=True)
        closing.callback(wire.cut)
        office = open_office(**corner.settings(wire.port))
        assert ready(office).status_code == 200
        hook = office.hook(1)
        payments = [office.paid(1) for _ in range(3)]
        assert not corner.has_queue(corner.queue)
        wire.mend()
        for payment_id in payments:
            assert [call.type for call in hook.waits_for(3, subject_of(payment_id), within=15)] == THREE
        assert corner.has_queue(corner.queue)
        office.server.stop()


def test_an_older_queue_is_used_as_it_is(open_office: OpenOffice, rabbitmq_url: str) -> None:
    corner = Broker(rabbitmq_url)
    with contextlib.ExitStack() as closing:
        closing.callback(corner.remove)
        corner.make_queue(corner.queue)
        office = open_office(**corner.settings())
        hook = office.hook(1)
        for _ in range(3):
            payment_id = office.paid(1)
            assert [call.type for call in hook.waits_for(3, subject_of(payment_id), within=10)] == THREE
        assert corner.is_queue(corner.queue)
        warnings = [
            line
            for line in office.server.log_text().splitlines()
            if "QUEUE_NAME" in line and re.search(r"warn", line, re.IGNORECASE)
        ]
        assert len(set(warnings)) == 1, office.server.log_text()[-3000:]
        office.server.stop()
