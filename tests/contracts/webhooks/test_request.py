"""The request that a merchant gets: headers, bodies and signatures (section 3)."""

from __future__ import annotations

import base64
import json
import re
import time
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError
from tests.contracts.payments.till import BASE, UUID7, a_key, an_order, until
from tests.contracts.webhooks.desk import (
    DTO,
    PAYMENT,
    STATUS_CHANGES,
    Hook,
    Office,
    genuine,
    is_envelope,
    signature,
    subject_of,
)
from tests.contracts.webhooks.merchants import BROKEN, FINE, Call

VECTOR = ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}')


def verified(secret: str, call: Call) -> bool:
    """Whether the library of the standard takes this request for genuine."""
    try:
        Webhook(secret).verify(call.raw, dict(call.headers))
    except WebhookVerificationError:
        return False
    return True


def paid_call(office: Office, hook: Hook, number: int = 1, **changes: Any) -> Call:
    payment_id = office.paid(number, **changes)
    return hook.waits_for(1, subject_of(payment_id), "payment.paid")[0]


def rotate(hook: Hook, **body: Any) -> str:
    answer = hook.post("rotate-secret", body)
    assert answer.status_code == 200, answer.text
    secret: str = answer.json()["secret"]
    return secret


# Headers


def test_the_request_is_a_post_of_json_by_kassa(office: Office) -> None:
    call = paid_call(office, office.hook())
    assert call.method == "POST"
    assert call.headers["content-type"] == "application/json"
    assert re.fullmatch(r"Kassa/\d+\.\d+\S*", call.headers["user-agent"])
    assert call.headers["host"] == f"127.0.0.1:{office.fake.port}"
    assert int(call.headers["content-length"]) == len(call.raw)


def test_each_header_of_the_table_is_there_once(office: Office) -> None:
    hook = office.hook()
    call = paid_call(office, hook)
    names = (
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
        "kassa-event-type",
        "kassa-subject",
        "kassa-sequence",
        "kassa-attempt",
    )
    assert [call.names.count(name) for name in names] == [1] * len(names)
    assert UUID7.fullmatch(call.headers["webhook-id"])
    assert re.fullmatch(r"\d{10}", call.headers["webhook-timestamp"])
    assert abs(int(call.headers["webhook-timestamp"]) - call.wall) < 5
    assert re.fullmatch(r"v1,[A-Za-z0-9+/]{43}=", call.headers["webhook-signature"])
    assert (call.type, call.attempt) == ("payment.paid", 1)


def test_nothing_secret_is_sent(office: Office) -> None:
    hook = office.hook()
    call = paid_call(office, hook)
    text = json.dumps(dict(call.headers)) + call.raw.decode()
    for secret in (hook.secret, hook.secret.removeprefix("whsec_"), "sk_demo_1", office.server.webhook_secret):
        assert secret not in text
    assert not {"authorization", "cookie", "x-api-key", "x-merchant-id"} & set(call.names)


def test_the_callback_names_the_currency(office: Office) -> None:
    """Ruling 5: the DTO has no currency, a header has."""
    for number, currency in ((1, "USD"), (5, "JPY"), (6, "KWD")):
        call = paid_call(office, office.hook(number), number, price=7)
        assert call.headers["kassa-currency"] == currency


def test_the_events_headers_are_those_of_its_envelope(office: Office) -> None:
    hook, thin = office.hook(format="event"), office.hook()
    call = paid_call(office, hook)
    body = call.body
    is_envelope(body)
    for each in (call, thin.waits_for(1, call.subject, "payment.paid")[0]):
        assert each.event_id == body["id"]
        assert each.type == body["type"] == "payment.paid"
        assert each.subject == body["subject"]
        assert each.sequence == body["sequence"]


def test_connections_are_reused(office: Office) -> None:
    hook = office.hook()
    for _ in range(6):
        paid_call(office, hook)
        until(lambda: all(each["status"] == "success" for each in hook.listed()), 5, "all is delivered")
    used = {call.connection for call in hook.calls()}
    assert len(hook.calls()) >= 12
    assert len(used) <= len(hook.calls()) // 2


# Bodies


def test_the_dto_has_the_readmes_members_in_order_without_spaces(office: Office) -> None:
    hook, order_id = office.hook(), time.time_ns()
    payment_id = office.paid(1, order_id=order_id, amount="2.50", price="349.7")
    [call] = hook.waits_for(1, subject_of(payment_id), "payment.paid")
    assert call.raw.decode() == (
        f'{{"payment_id":"{payment_id}","order_id":{order_id},"merchant_id":1,"status":2,"amount":"2.5","price":"349.70"}}'
    )
    assert tuple(call.body) == DTO


@pytest.mark.parametrize(
    ("number", "price", "shown"), [(1, "12.5", "12.50"), (5, "500", "500"), (6, "1.25", "1.250"), (2, 10, "10.00")]
)
def test_the_price_has_the_decimals_of_the_currency(office: Office, number: int, price: Any, shown: str) -> None:
    call = paid_call(office, office.hook(number), number, price=price)
    assert call.body["price"] == shown
    assert call.body["merchant_id"] == number


def test_an_order_id_keeps_its_type(office: Office) -> None:
    hook = office.hook()
    text = an_order()
    assert paid_call(office, hook, order_id=text).body["order_id"] == text
    digits = str(time.time_ns())
    assert paid_call(office, hook, order_id=digits).body["order_id"] == digits
    number = time.time_ns()
    assert paid_call(office, hook, order_id=number).body["order_id"] == number


@pytest.mark.parametrize("text", ['Ünï-"quotes"\\ €', "日本-7", "<&>'"])
def test_an_order_id_of_any_letters_arrives_whole(office: Office, text: str) -> None:
    hook = office.hook()
    order_id = f"{text}{an_order()}"
    call = paid_call(office, hook, order_id=order_id)
    assert call.body["order_id"] == order_id
    assert genuine(hook.secret, call)
    assert verified(hook.secret, call)


def test_every_payment_event_is_a_dto_in_format_payment(office: Office) -> None:
    hook = office.hook()
    payment_id = office.paid(1)
    calls = hook.waits_for(3, subject_of(payment_id))
    assert [(call.type, call.body["status"]) for call in calls] == [
        ("payment.created", 1),
        ("payment.waiting", 1),
        ("payment.paid", 2),
    ]
    assert {tuple(call.body) for call in calls} == {DTO}


def test_everything_else_is_an_envelope_in_format_payment(office: Office) -> None:
    hook = office.hook()
    payment_id = office.paid(1, price="20.00")
    answer = office.merchant().post(f"{BASE}/{payment_id}/refunds", json={"amount": "5.00"}, headers={"Idempotency-Key": a_key()})
    assert answer.status_code == 201
    [call] = hook.waits_for(1, subject_of(payment_id), "refund.succeeded")
    is_envelope(call.body)
    assert call.body["data"]["refund"]["refund_id"] == answer.json()["refund_id"]
    event_id = hook.ping()["event_id"]
    [ping] = hook.waits_for(1, f"endpoint:{hook.id}", "test.ping")
    is_envelope(ping.body)
    assert ping.event_id == ping.body["id"] == event_id
    assert ping.body["data"] == {"endpoint_id": hook.id, "message": "ping"}


def test_format_event_posts_the_envelope_for_all(office: Office) -> None:
    hook = office.hook(format="event")
    payment_id = office.paid(1, price="349.70")
    calls = hook.waits_for(3, subject_of(payment_id))
    for call in calls:
        is_envelope(call.body)
        assert set(call.body["data"]) >= PAYMENT
        assert call.body["merchant_id"] == 1
    assert [call.body["data"]["state"] for call in calls][1:] == ["waiting", "paid"]
    data = calls[-1].body["data"]
    assert (data["payment_id"], data["status"], data["status_name"]) == (payment_id, 2, "PAYMENT_FINISHED")
    assert (data["price"], data["captured"], data["refunded"], data["reason"]) == ("349.70", "349.70", "0.00", None)


@pytest.mark.parametrize("format_", ["payment", "event"])
def test_the_status_is_as_of_the_event_not_as_of_sending(office: Office, format_: str) -> None:
    hook = office.hook(1, format=format_)
    assert hook.post("disable").status_code == 200
    payment_id = office.paid(1)
    answer = office.merchant().post(f"{BASE}/{payment_id}/refunds", json={}, headers={"Idempotency-Key": a_key()})
    assert answer.status_code == 201, answer.text
    until(lambda: "payment.refunded" in {each["event_type"] for each in hook.of(subject_of(payment_id))}, 5, "it is refunded")
    assert hook.calls() == []
    assert hook.post("enable").status_code == 200
    hook.waits_for(1, subject_of(payment_id), "payment.refunded")
    told = {
        call.type: (call.body if format_ == "payment" else call.body["data"])["status"]
        for call in hook.calls(subject_of(payment_id))
        if call.type.startswith("payment.")
    }
    assert told == {"payment.created": 1, "payment.waiting": 1, "payment.paid": 2, "payment.refunded": 6}


def test_a_declined_payment_is_status_three(office: Office) -> None:
    hook = office.hook()
    payment_id = office.pay(1)
    office.settle(payment_id, "failed")
    [call] = hook.waits_for(1, subject_of(payment_id), "payment.declined")
    assert call.body["status"] == 3


def test_the_body_is_the_same_on_every_attempt_and_replay(office: Office) -> None:
    hook = office.hook(1, BROKEN, FINE, events=["payment.paid"])
    payment_id = office.paid(1)
    calls = hook.waits_for(2, subject_of(payment_id))
    delivery = hook.ends(subject_of(payment_id), "payment.paid", "success")
    assert hook.replay(delivery["delivery_id"]).status_code == 202
    calls = hook.waits_for(3, subject_of(payment_id))
    assert len({call.raw for call in calls}) == 1
    assert len({call.event_id for call in calls}) == 1
    assert all(genuine(hook.secret, call) for call in calls)


def test_each_attempt_has_its_own_time_and_number(office: Office) -> None:
    hook = office.hook(1, BROKEN, BROKEN, FINE, events=["payment.paid"])
    payment_id = office.paid(1)
    calls = hook.waits_for(3, subject_of(payment_id))
    assert [call.attempt for call in calls] == [1, 2, 3]
    times = [int(call.headers["webhook-timestamp"]) for call in calls]
    assert times == sorted(times)
    assert len(set(times)) > 1
    assert all(verified(hook.secret, call) for call in calls)


# Signatures


def test_the_vector_of_the_contract_holds() -> None:
    assert signature(*VECTOR) == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("format_", ["payment", "event"])
def test_what_is_sent_is_genuine(office: Office, format_: str) -> None:
    hook = office.hook(1, format=format_)
    payment_id = office.paid(1)
    for call in hook.waits_for(3, subject_of(payment_id)):
        assert genuine(hook.secret, call)
        assert verified(hook.secret, call)


def test_a_changed_body_or_time_or_id_is_not_genuine(office: Office) -> None:
    hook = office.hook()
    call = paid_call(office, hook)
    stranger = "whsec_" + base64.b64encode(b"k" * 32).decode()
    assert not verified(stranger, call)
    call.raw = call.raw.replace(b'"status":2', b'"status":3')
    assert not verified(hook.secret, call)


def test_the_merchants_endpoints_do_not_share_a_secret(office: Office) -> None:
    first, second = office.hook(), office.hook()
    payment_id = office.paid(1)
    for mine, other in ((first, second), (second, first)):
        [call] = mine.waits_for(1, subject_of(payment_id), "payment.paid")
        assert verified(mine.secret, call)
        assert not verified(other.secret, call)


def test_after_a_rotation_both_sign_the_newest_first(office: Office) -> None:
    hook = office.hook()
    new = rotate(hook)
    call = paid_call(office, hook)
    given = call.headers["webhook-signature"].split(" ")
    wanted = [signature(secret, call.event_id, call.headers["webhook-timestamp"], call.raw) for secret in (new, hook.secret)]
    assert given == wanted
    assert verified(new, call)
    assert verified(hook.secret, call)


def test_without_overlap_the_old_secret_ends_at_once(office: Office) -> None:
    hook = office.hook()
    new = rotate(hook, overlap_s=0)
    call = paid_call(office, hook)
    assert call.headers["webhook-signature"] == signature(new, call.event_id, call.headers["webhook-timestamp"], call.raw)
    assert not verified(hook.secret, call)


def test_an_overlap_ends_when_it_is_over(office: Office) -> None:
    hook = office.hook()
    new = rotate(hook, overlap_s=2)
    time.sleep(2.1)
    call = paid_call(office, hook)
    assert verified(new, call)
    assert not verified(hook.secret, call)


def test_there_are_never_more_than_two_signatures(office: Office) -> None:
    hook = office.hook()
    second, third = rotate(hook), rotate(hook)
    call = paid_call(office, hook)
    given = call.headers["webhook-signature"].split(" ")
    assert 1 <= len(given) <= 2
    assert given[0] == signature(third, call.event_id, call.headers["webhook-timestamp"], call.raw)
    assert verified(third, call)
    assert verified(second, call)
    assert not verified(hook.secret, call)


def test_a_retry_is_signed_with_the_secret_of_its_time(office: Office) -> None:
    """F64: rotation in the middle of a run fails no verification."""
    hook = office.hook(1, BROKEN, FINE, events=["payment.paid"])
    payment_id = office.paid(1)
    hook.waits_for(1, subject_of(payment_id))
    new = rotate(hook, overlap_s=0)
    first, second = hook.waits_for(2, subject_of(payment_id))
    assert verified(hook.secret, first)
    assert verified(new, second)


def test_rotation_under_fire_fails_no_verification(office: Office) -> None:
    hook = office.hook(1, events=STATUS_CHANGES)
    known, made = [hook.secret], []
    for _ in range(4):
        made += [office.paid(1) for _ in range(3)]
        known.append(rotate(hook))
    until(lambda: len(hook.calls()) >= len(made), 8, "all arrive")
    for call in hook.calls():
        assert any(verified(secret, call) for secret in known)


def test_the_request_is_http_1_1_or_2(office: Office) -> None:
    assert paid_call(office, office.hook()).version in {"HTTP/1.1", "HTTP/2"}
