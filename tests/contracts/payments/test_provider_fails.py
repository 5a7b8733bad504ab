"""A provider that refuses, babbles, is slow, hangs up or is not there (section 3): 502, payment failed, token back."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from .provider import CUT, HONEST, SILENT, Reply, link, says
from .till import (
    BASE,
    Mall,
    an_order,
    ask,
    at_once,
    becomes,
    keyed,
    opened,
    refusal,
    report,
    settled,
    show,
    status_of,
    tokens_used,
    track,
    until,
    wish,
)

UNREACHABLE = ("provider_unreachable", "Provider unreachable")
NO_LINK = ("provider_link_failed", "Provider URL generation failed")
GOOD_URL = "https://pay.example.com/x"


def url(text: Any) -> Reply:
    return says(200, {"payment_url": text})


def long_url(length: int) -> str:
    return "https://pay.example.com/".ljust(length, "x")


def large(size: int) -> bytes:
    """A good answer of so many bytes."""
    found = {"payment_url": GOOD_URL, "pad": ""}
    found["pad"] = "x" * (size - len(json.dumps(found)))
    return json.dumps(found).encode()


REFUSING: dict[str, Reply] = {
    **{
        str(status): says(status, {"payment_url": GOOD_URL})
        for status in (202, 203, 206, 400, 401, 404, 409, 422, 429, 500, 501, 502, 503, 504)
    },
    "204": says(204),
    "a redirect to a page": says(302, {"payment_url": GOOD_URL}, Location="https://pay.example.com/"),
    "a permanent redirect": says(308, None, Location="/elsewhere"),
    "nothing at all": says(200, b""),
    "no JSON": says(200, b"<html>https://pay.example.com/x</html>"),
    "not UTF-8": says(200, b'{"payment_url": "https://pay.example.com/\xff"}'),
    "a list": says(200, [GOOD_URL]),
    "a text": says(200, GOOD_URL),
    "null": says(200, b"null"),
    "no URL": says(200, {"url": GOOD_URL}),
    "an empty URL": url(""),
    "a null URL": url(None),
    "a number": url(7),
    "a list of URLs": url([GOOD_URL]),
    "another scheme": url("ftp://pay.example.com/x"),
    "a script": url("javascript:alert(1)"),
    "data": url("data:text/html,hello"),
    "a path": url("/pay/x"),
    "no scheme": url("pay.example.com/x"),
    "no host": url("https://"),
    "2049 characters": url(long_url(2049)),
    "17 KiB": says(200, large(17 * 1024)),
    "deep": says(200, b'{"payment_url":' + b"[" * 7000 + b"]" * 7000 + b"}"),
}


@dataclass(frozen=True)
class Effect:
    """What must have become of one failed payment."""

    mall: Mall
    order_id: str
    tokens: int

    def is_a_failure(self, answer: httpx2.Response, code: str, detail: str) -> None:
        merchant = self.mall.merchant(1)
        payment_id = answer.json().get("payment_id", "")
        refusal(answer, 502, code, detail, payment_id=payment_id)
        found = show(merchant, payment_id)
        assert (found["status"], found["status_name"], found["reason"]) == (3, "PAYMENT_FAILED", code)
        assert (found["order_id"], found["payment_url"], found["captured"]) == (self.order_id, None, "0.00")
        asked = [event for event in track(merchant, payment_id) if event["event_type"] == 2]
        assert [(event["event_name"], event["status"], event["status_name"]) for event in asked] == [
            ("EVENT_PROVIDER_REQUEST_SENT", 3, "LOG_FAILED")
        ]
        assert tokens_used(merchant) == self.tokens
        opened(ask(merchant))  # the next buyer is served


@pytest.fixture
def effect(mall: Mall) -> Effect:
    return Effect(mall, an_order(), tokens_used(mall.merchant(1)))


@pytest.mark.parametrize("kind", REFUSING)
def test_an_answer_without_a_usable_link_is_a_failure(mall: Mall, merchant: httpx2.Client, effect: Effect, kind: str) -> None:
    mall.provider.for_link(effect.order_id, REFUSING[kind])
    effect.is_a_failure(ask(merchant, order_id=effect.order_id), *NO_LINK)
    assert [call.path for call in mall.provider.links(effect.order_id)] == [
        "/payment-links"
    ]  # no redirect was followed, nothing asked twice
    assert [call for call in mall.provider.everything() if call.method == "GET" or call.path == "/elsewhere"] == []


@pytest.mark.parametrize("reply", [CUT, Reply(body="honest", half=True)], ids=["before the answer", "within the answer"])
def test_a_provider_that_hangs_up_is_unreachable(mall: Mall, merchant: httpx2.Client, effect: Effect, reply: Reply) -> None:
    mall.provider.for_link(effect.order_id, reply)
    effect.is_a_failure(ask(merchant, order_id=effect.order_id), *UNREACHABLE)


def test_a_provider_that_is_not_there_is_unreachable(mall: Mall, merchant: httpx2.Client, effect: Effect) -> None:
    mall.provider.close()
    try:
        answer = ask(merchant, order_id=effect.order_id)
    finally:
        mall.provider.open()
    effect.is_a_failure(answer, *UNREACHABLE)
    assert mall.provider.links(effect.order_id) == []


def test_three_seconds_are_all_that_a_provider_has(mall: Mall, merchant: httpx2.Client) -> None:
    """Silent, and one that sends a byte now and then, beside one that thinks for two seconds and is waited for."""
    orders = {name: an_order() for name in ("silent", "drips", "thinks")}
    before = tokens_used(merchant)
    for name, reply in (
        ("silent", SILENT),
        ("drips", Reply(body="honest", drip=True)),
        ("thinks", Reply(body="honest", after=2.0)),
    ):
        mall.provider.for_link(orders[name], reply)
    answers = at_once(*(lambda order_id=order_id: ask(merchant, order_id=order_id) for order_id in orders.values()))
    silent, drips, thinks = answers
    opened(thinks)
    for order_id, answer in ((orders["silent"], silent), (orders["drips"], drips)):
        assert answer.elapsed.total_seconds() < 4.5
        Effect(mall, order_id, tokens_used(merchant)).is_a_failure(answer, *UNREACHABLE)
    assert tokens_used(merchant) == before + 3  # of the one that thought, and of the two that were served next


@pytest.mark.parametrize(
    ("reply", "shown"),
    [
        (says(201, {"payment_url": GOOD_URL}), GOOD_URL),
        (says(200, {"payment_url": "http://pay.example.com/plain?a=b&c=d#e"}), "http://pay.example.com/plain?a=b&c=d#e"),
        (says(200, {"payment_url": long_url(2048), "more": [1, 2, {"a": None}]}), long_url(2048)),
        (says(200, large(16 * 1024)), GOOD_URL),
        (says(200, {"payment_url": GOOD_URL}, Content_Type="text/plain"), GOOD_URL),
        (HONEST, None),
    ],
    ids=["201", "plain HTTP", "2048 characters", "16 KiB", "text/plain", "honest"],
)
def test_a_usable_link_is_taken_as_it_is(mall: Mall, merchant: httpx2.Client, reply: Reply, shown: str | None) -> None:
    order_id = an_order()
    mall.provider.for_link(order_id, reply)
    answer = ask(merchant, order_id=order_id)
    payment_id = opened(answer)
    assert answer.json()["payment_url"] == (shown or link(payment_id))
    assert show(merchant, payment_id)["payment_url"] == (shown or link(payment_id))


def test_late_money_of_a_failed_link_is_taken(mall: Mall, merchant: httpx2.Client) -> None:
    """The provider was cut off, but the buyer found a way to pay: late facts win, and no token is taken again."""
    order_id = an_order()
    mall.provider.for_link(order_id, CUT)
    before = tokens_used(merchant)
    payment_id = ask(merchant, order_id=order_id).json()["payment_id"]
    settled(report(mall, payment_id), "payment updated", payment_id, "PAYMENT_FINISHED")
    assert status_of(merchant, payment_id) == 2
    assert tokens_used(merchant) == before


@pytest.mark.parametrize(("status", "name", "end"), [("finished", "PAYMENT_FINISHED", 2), ("failed", "PAYMENT_FAILED", 3)])
def test_a_report_before_the_link_stays(mall: Mall, merchant: httpx2.Client, status: str, name: str, end: int) -> None:
    """F09: the provider reports while it is still being asked for the link. The post answers as if it had not."""
    body, gate = wish(), threading.Event()
    mall.provider.for_link(body["order_id"], Reply(body="honest", gate=gate))

    def tell() -> httpx2.Response:
        try:
            [call] = until(lambda: mall.provider.links(body["order_id"]), hope="the provider is asked")
            return report(mall, call.body["payment_id"], status)
        finally:
            gate.set()

    answer, told = at_once(lambda: ask(merchant, body, headers=keyed()), tell)
    payment_id = told.json()["result"]["payment_id"]
    settled(told, "payment updated", payment_id, name)
    if status == "finished":
        assert opened(answer) == payment_id
        assert answer.json() == {"payment_id": payment_id, "status": "PAYMENT_PENDING", "payment_url": link(payment_id)}
    becomes(merchant, payment_id, end)


def test_many_reports_around_the_link_answer_lose_nothing(mall: Mall, merchant: httpx2.Client) -> None:
    """F09: the report comes a little before, with, and a little after the answer."""
    bodies = [wish() for _ in range(24)]
    for body in bodies:
        mall.provider.for_link(body["order_id"], Reply(body="honest", after=0.05))

    def buy(place: int) -> tuple[httpx2.Response, httpx2.Response]:
        body = bodies[place]
        gate = threading.Event()

        def tell() -> httpx2.Response:
            [call] = until(lambda: mall.provider.links(body["order_id"]), hope="the provider is asked")
            gate.wait(0.01 * (place % 10))
            return report(mall, call.body["payment_id"])

        one, two = at_once(lambda: merchant.post(BASE, json=body), tell)
        return one, two

    for first in range(0, len(bodies), 6):
        for answer, told in at_once(*(lambda place=place: buy(place) for place in range(first, first + 6))):
            settled(told, "payment updated", opened(answer), "PAYMENT_FINISHED")
            assert status_of(merchant, opened(answer)) == 2
