"""One live or paid payment for each order, and one token for each accepted payment (section 3; F32, I11)."""

from __future__ import annotations

from collections import Counter
from typing import Any

import httpx2
import pytest

from .provider import CUT, Reply, link, says
from .till import (
    BASE,
    Json,
    Mall,
    an_order,
    ask,
    becomes,
    give_back,
    keyed,
    me,
    opened,
    paid,
    pay_link,
    refusal,
    report,
    rush,
    status_of,
    tokens_used,
    wish,
)

QUOTA = {"detail": "quota_exceeded", "code": "quota_exceeded"}


def as_merchant(number: int, **more: str) -> dict[str, str]:
    return {"X-Api-Key": f"sk_demo_{number}", **more}


def exists(answer: httpx2.Response, payment_id: str, status: str = "PAYMENT_PENDING") -> None:
    told = {"payment_id": payment_id, "status": status, "payment_url": link(payment_id)}
    refusal(answer, 400, "payment_already_exists", "Payment already exists", **told)


def tokens(who: httpx2.Client) -> tuple[int, int]:
    plan = me(who)["subscription"]
    return plan["tokens_used"], plan["tokens_left"]


# One live or paid payment per order


@pytest.mark.parametrize("keys", ["no keys", "keys of their own"])
def test_fifty_posts_for_one_order_are_one_payment(mall: Mall, merchant: httpx2.Client, keys: str) -> None:
    body, before = wish(), tokens_used(merchant)
    mall.provider.for_link(body["order_id"], Reply(body="honest", after=0.2))
    headers = [as_merchant(1, **(keyed() if keys != "no keys" else {})) for _ in range(50)]
    answers = rush(mall.server, [(BASE, body, each) for each in headers])
    assert Counter(answer.status_code for answer in answers) == {200: 1, 400: 49}
    [first] = [answer for answer in answers if answer.status_code == 200]
    payment_id = opened(first)
    for answer in answers:
        if answer is not first:
            url = answer.json()["payment_url"]
            assert url in {None, link(payment_id)}
            told = {"payment_id": payment_id, "status": "PAYMENT_PENDING", "payment_url": url}
            refusal(answer, 400, "payment_already_exists", "Payment already exists", **told)
    assert [call.body["payment_id"] for call in mall.provider.links(body["order_id"])] == [payment_id]
    assert tokens_used(merchant) == before + 1
    assert merchant.get(BASE, params={"order_id": body["order_id"]}).json()["total"] == 1


def test_a_number_and_its_text_race_for_one_order(own_mall: Mall) -> None:
    bodies = [wish(order_id=71 if place % 2 else "71") for place in range(20)]
    answers = rush(own_mall.server, [(BASE, body, as_merchant(1)) for body in bodies])
    assert Counter(answer.status_code for answer in answers) == {200: 1, 400: 19}
    assert len(own_mall.provider.links(71)) == 1


def test_one_order_id_of_several_merchants_is_several_payments_also_at_once(mall: Mall) -> None:
    body = wish(price=8)
    numbers = [1, 2, 3, 5, 6] * 6
    answers = rush(mall.server, [(BASE, body, as_merchant(number)) for number in numbers])
    won = [number for number, answer in zip(numbers, answers, strict=True) if answer.status_code == 200]
    assert sorted(won) == [1, 2, 3, 5, 6]
    assert len(mall.provider.links(body["order_id"])) == 5


def test_a_live_and_a_paid_payment_stand_in_the_way(mall: Mall, merchant: httpx2.Client) -> None:
    body = wish()
    payment_id = pay_link(merchant, body)
    exists(ask(merchant, body), payment_id)
    report(mall, payment_id)
    exists(ask(merchant, body), payment_id, "PAYMENT_FINISHED")


def test_after_a_decline_a_new_payment_is_allowed(mall: Mall, merchant: httpx2.Client) -> None:
    body = wish()
    first = pay_link(merchant, body)
    report(mall, first, "failed")
    second = pay_link(merchant, body)
    assert first != second
    exists(ask(merchant, body), second)
    assert (status_of(merchant, first), status_of(merchant, second)) == (3, 1)


def test_after_a_whole_refund_a_new_payment_is_allowed_and_after_a_partial_one_not(mall: Mall, merchant: httpx2.Client) -> None:
    body = wish(price="10.00")
    first = paid(mall, merchant, body)
    assert give_back(merchant, first, amount="4.00").status_code == 201
    exists(ask(merchant, body), first, "PAYMENT_FINISHED")
    assert give_back(merchant, first).status_code == 201
    becomes(merchant, first, 6)
    assert pay_link(merchant, body) != first


def test_after_a_failed_link_a_new_payment_is_allowed(mall: Mall, merchant: httpx2.Client) -> None:
    body = wish()
    mall.provider.for_link(body["order_id"], says(500), Reply(body="honest"))
    failed = ask(merchant, body)
    refusal(failed, 502, "provider_link_failed", "Provider URL generation failed", payment_id=failed.json()["payment_id"])
    assert pay_link(merchant, body) != failed.json()["payment_id"]


# Tokens. A Kassa of this file's own: it uses merchants 4 and 8 up.


def test_a_merchant_with_three_tokens_has_three_payments(own_mall: Mall) -> None:
    who, provider = own_mall.merchant(8), own_mall.provider
    assert tokens(who) == (0, 3)

    lost = [an_order() for _ in range(4)]
    for order_id, reply, code in zip(
        lost, [says(500), CUT, says(200, {}), says(404)], ["link_failed", "unreachable", *["link_failed"] * 2], strict=True
    ):
        provider.for_link(order_id, reply)
        answer = ask(who, order_id=order_id)
        assert (answer.status_code, answer.json()["code"]) == (502, f"provider_{code}")
        assert tokens(who) == (0, 3)

    first = wish()
    payment_id = pay_link(who, first)
    exists(ask(who, first), payment_id)
    assert tokens(who) == (1, 2)
    report(own_mall, payment_id, "failed")
    assert tokens(who) == (1, 2)  # a buyer who declines gives no token back
    second = paid(own_mall, who)
    assert give_back(who, second).status_code == 201
    assert tokens(who) == (2, 1)  # nor does a refund
    third = wish()
    third_id = pay_link(who, third)
    assert tokens(who) == (3, 0)

    is_exhausted(own_mall, who, third, third_id)
    # Late money of a payment whose token was given back does not take one: there is none to take.
    [call] = provider.links(lost[0])
    assert report(own_mall, call.body["payment_id"]).json()["result"]["message"] == "payment updated"
    assert status_of(who, call.body["payment_id"]) == 2
    assert tokens(who) == (3, 0)


def is_exhausted(mall: Mall, who: httpx2.Client, known: Json, known_id: str) -> None:
    order_id = an_order()
    for named in ({}, {"subscription_id": 5}, {"subscription_id": "5"}):
        refused = ask(who, order_id=order_id, headers=keyed(), **named)
        assert (refused.status_code, refused.json()) == (429, QUOTA)
        assert "Retry-After" not in refused.headers
    assert mall.provider.links(order_id) == []
    assert who.get(BASE, params={"order_id": order_id}).json()["total"] == 0
    exists(ask(who, known), known_id)  # told before the quota
    refusal(ask(who, alias="bank"), 400, "provider_not_found", "Provider not found")
    refusal(ask(who, subscription_id=1), 400, "subscription_not_found", "Active subscription not found")
    found = me(who)
    assert found["subscription"] == found["subscriptions"][0]
    assert (found["subscription"]["status"], found["subscription"]["status_name"]) == (1, "SUBSCRIPTION_ACTIVE")


def test_five_hundred_posts_on_a_hundred_tokens_are_a_hundred_payments(own_mall: Mall) -> None:
    """F32: exactly as many as there are tokens, while some links fail and give theirs back."""
    who = own_mall.merchant(4)
    assert tokens(who) == (0, 100)
    answers = rush(own_mall.server, [(BASE, wish(price="1.00"), as_merchant(4)) for _ in range(500)])
    assert Counter(answer.status_code for answer in answers) == {200: 100, 429: 400}
    for answer in answers:
        if answer.status_code == 429:
            assert answer.json() == QUOTA
            assert "Retry-After" not in answer.headers
    assert len({opened(answer) for answer in answers if answer.status_code == 200}) == 100
    assert tokens(who) == (100, 0)
    assert who.get(BASE, params={"limit": 1}).json()["total"] == 100
    ids = [call.body["payment_id"] for call in own_mall.provider.everything() if call.body["merchant_id"] == 4]
    assert len(ids) == len(set(ids)) == 100


def test_tokens_of_links_that_fail_all_come_back_also_at_once(mall: Mall) -> None:
    who = mall.merchant(3)
    before = tokens_used(who)
    bodies: list[Any] = [wish() for _ in range(30)]
    for place, body in enumerate(bodies):
        if place % 2:
            mall.provider.for_link(body["order_id"], says(500))
    answers = rush(mall.server, [(BASE, body, as_merchant(3)) for body in bodies])
    assert [answer.status_code for answer in answers] == [200, 502] * 15
    assert tokens_used(who) == before + 15
