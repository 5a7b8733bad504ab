"""The same key is the same request (section 3, rulings 24 and 25; F22, F23, F26, F76)."""

from __future__ import annotations

import json
import socket
import threading
from collections import Counter
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from .provider import Reply, link, says
from .till import (
    BASE,
    Mall,
    a_key,
    an_order,
    ask,
    at_once,
    is_replay_of,
    keyed,
    opened,
    paid,
    pay_link,
    refusal,
    report,
    rush,
    show,
    status_of,
    tokens_used,
    until,
    wish,
    without,
)

PRICES = ["12.5", "12.50", '"12.50"', '"12.5"', "12.500"]
VISIBLE = "!#$%&'()*+,-./:;<=>?@[]^_`{|}~azAZ09"


def test_a_repeated_post_gets_the_same_bytes(mall: Mall, merchant: httpx2.Client) -> None:
    body, headers, before = wish(), keyed(), tokens_used(merchant)
    first, second, third = (ask(merchant, body, headers=headers) for _ in range(3))
    opened(first)
    is_replay_of(second, first)
    is_replay_of(third, first)
    assert len(mall.provider.links(body["order_id"])) == 1
    assert tokens_used(merchant) == before + 1


def test_the_first_answer_is_repeated_whatever_became_of_the_payment(mall: Mall, merchant: httpx2.Client) -> None:
    body, headers = wish(), keyed()
    first = ask(merchant, body, headers=headers)
    payment_id = opened(first)
    report(mall, payment_id)
    assert status_of(merchant, payment_id) == 2
    is_replay_of(ask(merchant, body, headers=headers), first)


def test_a_repeat_after_a_decline_is_still_the_first_answer(mall: Mall, merchant: httpx2.Client) -> None:
    body, headers = wish(), keyed()
    first = ask(merchant, body, headers=headers)
    report(mall, opened(first), "failed")
    is_replay_of(ask(merchant, body, headers=headers), first)
    assert pay_link(merchant, body) != opened(first)


@pytest.mark.parametrize("member", ["price", "amount"])
def test_numbers_of_the_same_value_are_the_same_payload(merchant: httpx2.Client, member: str) -> None:
    body, headers = wish(**{member: "@"}), keyed()
    first, *others = (merchant.post(BASE, content=json.dumps(body).replace('"@"', text), headers=headers) for text in PRICES)
    opened(first)
    for other in others:
        is_replay_of(other, first)


def test_order_of_members_and_white_space_do_not_matter(merchant: httpx2.Client) -> None:
    body, headers = wish(subscription_id=1, event_id="é"), keyed()
    first = merchant.post(BASE, content=json.dumps(body), headers=headers)
    shuffled = json.dumps(dict(reversed(body.items())), indent=3, ensure_ascii=False).encode()
    opened(first)
    is_replay_of(merchant.post(BASE, content=shuffled, headers=headers), first)


@pytest.mark.parametrize(
    "change",
    [
        {"amount": 3},
        {"price": "349.71"},
        {"alias": "paypal"},
        {"order_id": "another"},
        {"event_id": "evt-2"},
        {"subscription_id": 1},
        {"alias": "bank"},
    ],
    ids=str,
)
def test_another_payload_under_the_same_key_is_refused_and_nothing_happens(
    mall: Mall, merchant: httpx2.Client, change: dict[str, Any]
) -> None:
    body, headers = wish(), keyed()
    first = ask(merchant, body, headers=headers)
    opened(first)
    before = (tokens_used(merchant), len(mall.provider.everything()))
    refused = ask(merchant, body, headers=headers, **change)
    refusal(refused, 422, "idempotency_mismatch")
    assert "Idempotent-Replayed" not in refused.headers
    assert (tokens_used(merchant), len(mall.provider.everything())) == before
    is_replay_of(ask(merchant, body, headers=headers), first)


def test_without_a_key_nothing_is_replayed(merchant: httpx2.Client) -> None:
    body = wish()
    pay_link(merchant, body)
    again = ask(merchant, body)
    assert (again.status_code, again.json()["code"]) == (400, "payment_already_exists")
    assert "Idempotent-Replayed" not in again.headers


def test_another_key_is_another_request(merchant: httpx2.Client) -> None:
    body = wish()
    opened(ask(merchant, body, headers=keyed()))
    refused = ask(merchant, body, headers=keyed())
    assert (refused.status_code, refused.json()["code"]) == (400, "payment_already_exists")


def test_merchants_do_not_share_keys(mall: Mall) -> None:
    """F26."""
    body, headers = wish(price=7), keyed()
    answers = [ask(mall.merchant(number), body, headers=headers) for number in (1, 2, 3, 5)]
    assert len({opened(answer) for answer in answers}) == 4
    assert ["Idempotent-Replayed" in answer.headers for answer in answers] == [False] * 4


def test_the_key_belongs_to_the_merchant_not_to_the_credential(mall: Mall) -> None:
    body, headers = wish(), keyed()
    first = ask(mall.merchant(1), body, headers=headers)
    opened(first)
    is_replay_of(ask(mall.with_headers(X_Merchant_Id="1"), body, headers=headers), first)


def test_operations_do_not_share_keys(mall: Mall, merchant: httpx2.Client) -> None:
    headers = keyed()
    payment_id = opened(ask(merchant, headers=headers))
    report(mall, payment_id)
    answer = merchant.post(f"{BASE}/{payment_id}/refunds", json={"amount": "1.00"}, headers=headers)
    assert answer.status_code == 201, answer.text
    assert "Idempotent-Replayed" not in answer.headers


# What is not stored


def test_a_repeat_after_502_makes_a_new_payment_under_the_same_key(mall: Mall, merchant: httpx2.Client) -> None:
    """F76: a failure does not poison the key."""
    body, headers = wish(), keyed()
    mall.provider.for_link(body["order_id"], says(500), says(418), Reply(body="honest"))
    failed = [ask(merchant, body, headers=headers) for _ in range(2)]
    first_ids = [refusal(each, 502, "provider_link_failed", payment_id=each.json()["payment_id"])["payment_id"] for each in failed]
    good = ask(merchant, body, headers=headers)
    payment_id = opened(good)
    assert len({*first_ids, payment_id}) == 3
    assert "Idempotent-Replayed" not in good.headers
    is_replay_of(ask(merchant, body, headers=headers), good)
    assert [call.body["payment_id"] for call in mall.provider.links(body["order_id"])] == [*first_ids, payment_id]


def test_a_refusal_does_not_spend_the_key(mall: Mall, merchant: httpx2.Client) -> None:
    body, headers = wish(), keyed()
    blocker = pay_link(merchant, body)
    for _ in range(2):
        refused = ask(merchant, body, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (400, "payment_already_exists")
        assert "Idempotent-Replayed" not in refused.headers
    report(mall, blocker, "failed")
    good = ask(merchant, body, headers=headers)
    assert opened(good) != blocker
    is_replay_of(ask(merchant, body, headers=headers), good)


def test_bad_input_and_a_missing_scope_do_not_spend_the_key(mall: Mall, merchant: httpx2.Client) -> None:
    body, headers = wish(), keyed()
    assert ask(merchant, body, headers=headers, price="1e3").status_code == 422
    assert ask(mall.with_key("sk_demo_1_read"), body, headers=headers).status_code == 403
    assert ask(mall.with_key("sk_nobody"), body, headers=headers).status_code == 401
    assert ask(merchant, body, headers=headers, alias="bank").status_code == 400
    assert "Idempotent-Replayed" not in ask(merchant, body, headers=headers).headers


# Still running


def test_a_repeat_while_the_first_is_running_is_told_to_wait(mall: Mall, merchant: httpx2.Client) -> None:
    body, headers, gate = wish(), keyed(), threading.Event()
    mall.provider.for_link(body["order_id"], Reply(body="honest", gate=gate))

    def repeat() -> httpx2.Response:
        try:
            until(lambda: mall.provider.links(body["order_id"]), hope="the provider is asked")
            return ask(mall.merchant(1), body, headers=headers)
        finally:
            gate.set()

    first, second = at_once(lambda: ask(merchant, body, headers=headers), repeat)
    opened(first)
    refusal(second, 409, "idempotency_in_progress")
    assert second.headers["Retry-After"] == "1"
    assert second.elapsed.total_seconds() >= 0.9
    is_replay_of(ask(merchant, body, headers=headers), first)
    assert len(mall.provider.links(body["order_id"])) == 1


def test_another_payload_is_refused_while_the_first_is_running(mall: Mall, merchant: httpx2.Client) -> None:
    body, headers, gate = wish(), keyed(), threading.Event()
    mall.provider.for_link(body["order_id"], Reply(body="honest", gate=gate))

    def differ() -> httpx2.Response:
        try:
            until(lambda: mall.provider.links(body["order_id"]), hope="the provider is asked")
            return ask(mall.merchant(1), body, headers=headers, amount=5)
        finally:
            gate.set()

    first, second = at_once(lambda: ask(merchant, body, headers=headers), differ)
    opened(first)
    refusal(second, 422, "idempotency_mismatch")


def test_without_the_key_a_repeat_learns_of_the_running_payment_without_its_link(mall: Mall, merchant: httpx2.Client) -> None:
    body, gate = wish(), threading.Event()
    mall.provider.for_link(body["order_id"], Reply(body="honest", gate=gate))

    def repeat() -> httpx2.Response:
        try:
            until(lambda: mall.provider.links(body["order_id"]), hope="the provider is asked")
            return ask(mall.merchant(1), body)
        finally:
            gate.set()

    first, second = at_once(lambda: ask(merchant, body), repeat)
    told = {"payment_id": opened(first), "status": "PAYMENT_PENDING", "payment_url": None}
    refusal(second, 400, "payment_already_exists", "Payment already exists", **told)
    assert ask(merchant, body).json()["payment_url"] == link(opened(first))


def test_fifty_presses_under_one_key_are_one_payment(mall: Mall, merchant: httpx2.Client) -> None:
    """F22."""
    body, before = wish(), tokens_used(merchant)
    mall.provider.for_link(body["order_id"], Reply(body="honest", after=0.3))
    headers = {"X-Api-Key": "sk_demo_1", **keyed()}
    answers = rush(mall.server, [(BASE, body, headers)] * 50)
    codes = Counter(answer.status_code for answer in answers)
    assert set(codes) <= {200, 409}
    done = [answer for answer in answers if answer.status_code == 200]
    assert len({answer.content for answer in done}) == 1
    assert sum("Idempotent-Replayed" not in answer.headers for answer in done) == 1
    for answer in answers:
        if answer.status_code == 409:
            refusal(answer, 409, "idempotency_in_progress")
            assert answer.headers["Retry-After"] == "1"
    assert len(mall.provider.links(body["order_id"])) == 1
    assert tokens_used(merchant) == before + 1


# The key itself


@pytest.mark.parametrize("length", [8, 9, 254, 255])
@pytest.mark.parametrize("quote", ["", '"'])
def test_a_key_of_8_to_255_characters_is_taken(merchant: httpx2.Client, length: int, quote: str) -> None:
    body, key = wish(), a_key().ljust(length, "k")[-length:]
    headers = {"Idempotency-Key": f"{quote}{key}{quote}"}
    first = ask(merchant, body, headers=headers)
    opened(first)
    is_replay_of(ask(merchant, body, headers=headers), first)


def test_a_key_in_quotes_is_the_same_key(merchant: httpx2.Client) -> None:
    body, key = wish(), a_key()
    first = ask(merchant, body, headers=keyed(key))
    opened(first)
    is_replay_of(ask(merchant, body, headers=keyed(f'"{key}"')), first)


def test_every_visible_character_may_be_in_a_key(merchant: httpx2.Client) -> None:
    body, headers = wish(), keyed(VISIBLE + a_key())
    first = ask(merchant, body, headers=headers)
    opened(first)
    is_replay_of(ask(merchant, body, headers=headers), first)


def test_keys_that_differ_in_one_letter_are_two(merchant: httpx2.Client) -> None:
    key = a_key()
    ids = {opened(ask(merchant, headers=keyed(each))) for each in (key + "a", key + "A")}
    assert len(ids) == 2


@pytest.mark.parametrize(
    "key",
    [b"1234567", b"k" * 256, b"k" * 3000, b"", b'"1234567"', b'"' + b"k" * 256 + b'"', b'""', b"a blank in it", b"tab\tin-the-key",
     b"\x01\x02\x03\x04\x05\x06\x07\x08\x09", b"del\x7fdel\x7fdel", "schlüssel-zwölf".encode(), "schlüssel-zwölf".encode("latin-1"),
     "ключ-из-букв".encode(), b"\xff" * 9],
    ids=lambda key: repr(key)[:30],
)  # fmt: skip
@pytest.mark.parametrize("route", ["payments", "refunds"])
def test_a_key_that_is_none_is_refused(mall: Mall, refundable: str, key: bytes, route: str) -> None:
    """Sent by hand, because a polite client would not send some of these."""
    order_id = an_order()
    path, body = (BASE, wish(order_id=order_id)) if route == "payments" else (f"{BASE}/{refundable}/refunds", {"amount": "0.01"})
    head, told = by_hand(mall, path, json.dumps(body).encode(), key)
    assert head.startswith(b"HTTP/1.1 400"), head + told
    if b"application/json" in head.lower():  # else the server's own parser refused it before Kassa saw it
        required = {"idempotency_key_required"} if not key and route == "refunds" else set()
        assert json.loads(told)["code"] in {"idempotency_key_invalid"} | required
    assert mall.provider.links(order_id) == []
    assert show(mall.merchant(1), refundable)["refunded"] == "0.00"


@pytest.fixture(scope="module")
def refundable(mall: Mall) -> str:
    return paid(mall, mall.merchant(1))


def by_hand(mall: Mall, path: str, body: bytes, key: bytes) -> tuple[bytes, bytes]:
    place = urlsplit(mall.server.url)
    request = (
        f"POST {path} HTTP/1.1\r\nHost: {place.netloc}\r\nConnection: close\r\nX-Api-Key: sk_demo_1\r\n"
        f"Content-Length: {len(body)}\r\nIdempotency-Key: "
    ).encode()
    with socket.create_connection((place.hostname or "127.0.0.1", place.port or 80), timeout=20) as line:
        line.sendall(request + key + b"\r\n\r\n" + body)
        head, _, told = b"".join(iter(lambda: line.recv(65536), b"")).partition(b"\r\n\r\n")
    return head, told


def test_a_bad_key_is_told_in_full(merchant: httpx2.Client) -> None:
    refusal(ask(merchant, headers=keyed("short")), 400, "idempotency_key_invalid")


def test_a_replay_is_for_the_same_merchants_eyes_only(mall: Mall) -> None:
    body, headers = wish(price=9), keyed()
    first = ask(mall.merchant(1), body, headers=headers)
    other = ask(mall.merchant(2), without(body, "event_id"), headers=headers)
    assert opened(first) not in other.text
