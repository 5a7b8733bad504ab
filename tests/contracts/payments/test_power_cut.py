"""A process that dies between its commit and the provider's answer, and what a restart must not lose (section 3, F25)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx2
import pytest

from .provider import HONEST, Provider, Reply, link, says
from .till import (
    BASE,
    Json,
    Mall,
    a_key,
    ask,
    give_back,
    is_replay_of,
    is_well,
    keyed,
    ledger_of,
    me,
    opened,
    paid,
    refunds_of,
    report,
    settled,
    show,
    tokens_used,
    track,
    until,
    wish,
)

if TYPE_CHECKING:
    from tests.conftest import StartKassa


@dataclass
class Cut:
    """Three posts and a refund that were under way when the power failed, and what was known before."""

    mall: Mall
    good: Json
    refused: Json
    keyed: Json
    key: dict[str, str]
    asked: dict[str, str]  # order id → payment id, as the provider was told before the cut
    refunded: str
    tokens: int

    @property
    def merchant(self) -> httpx2.Client:
        return self.mall.merchant(1)


@pytest.fixture(scope="module")
def cut(start_kassa: StartKassa) -> Iterator[Cut]:
    """Kill the server while its provider hangs, and start it again before a provider that answers."""
    provider, gate = Provider(), threading.Event()
    mall = Mall(start_kassa(PROVIDER_URL=provider.url, TRUST_MERCHANT_HEADER="true"), provider)
    money_back = paid(mall, mall.merchant(1), price="100.00")
    tokens = tokens_used(mall.merchant(1))
    bodies, key = [wish() for _ in range(3)], keyed()
    silence = Reply(body="honest", gate=gate)
    for body, later in zip(bodies, [HONEST, says(500), HONEST], strict=True):
        provider.for_link(body["order_id"], silence, later)
    provider.for_refund(money_back, silence, HONEST)
    acts = [
        lambda: ask(mall.merchant(1), bodies[0]),
        lambda: ask(mall.merchant(1), bodies[1]),
        lambda: ask(mall.merchant(1), bodies[2], headers=key),
        lambda: give_back(mall.merchant(1), money_back, amount="40.00"),
    ]
    with ThreadPoolExecutor(len(acts)) as hands:
        waiting = [hands.submit(act) for act in acts]
        until(
            lambda: all(provider.links(body["order_id"]) for body in bodies) and provider.refunds(money_back),
            hope="the provider is asked",
        )
        mall.server.kill()
        gate.set()
        for each in waiting:
            assert isinstance(each.exception(), httpx2.TransportError)
    asked = {body["order_id"]: provider.links(body["order_id"])[0].body["payment_id"] for body in bodies}
    mall.forget_clients()
    mall.server.restart()
    try:
        yield Cut(mall, *bodies, key, asked, money_back, tokens)
        is_well(mall.server)
    finally:
        provider.stop()


def test_within_fifteen_seconds_of_the_restart_the_link_is_there(cut: Cut) -> None:
    order_id = cut.good["order_id"]
    payment_id = cut.asked[order_id]
    found = until(lambda: show(cut.merchant, payment_id)["payment_url"], 15, "the link is stored")
    assert found == link(payment_id)
    calls = cut.mall.provider.links(order_id)
    assert len(calls) >= 2
    assert {(call.body["payment_id"], call.headers["idempotency-key"]) for call in calls} == {(payment_id, payment_id)}
    again = ask(cut.merchant, cut.good)
    assert again.status_code == 400
    told = {name: again.json()[name] for name in ("code", "payment_id", "status", "payment_url")}
    assert told == {
        "code": "payment_already_exists",
        "payment_id": payment_id,
        "status": "PAYMENT_PENDING",
        "payment_url": link(payment_id),
    }


def test_within_fifteen_seconds_of_the_restart_the_failure_is_there(cut: Cut) -> None:
    payment_id = cut.asked[cut.refused["order_id"]]
    until(lambda: show(cut.merchant, payment_id)["status"] == 3, 15, "the failure is stored")
    found = show(cut.merchant, payment_id)
    assert (found["status_name"], found["reason"], found["payment_url"]) == ("PAYMENT_FAILED", "provider_link_failed", None)
    assert {call.body["payment_id"] for call in cut.mall.provider.links(cut.refused["order_id"])} == {payment_id}


def test_a_repeat_under_the_dead_ones_key_finds_the_same_payment(cut: Cut) -> None:
    """F25, ruling 25."""
    payment_id = cut.asked[cut.keyed["order_id"]]
    until(lambda: show(cut.merchant, payment_id)["payment_url"], 15, "the link is stored")

    def answered() -> httpx2.Response | None:
        answer = ask(cut.merchant, cut.keyed, headers=cut.key)
        return None if answer.status_code == 409 else answer

    answer = until(answered, 15, "the key's dead owner is noticed")
    assert answer.status_code == 200 or answer.json()["code"] == "payment_already_exists"
    assert answer.json()["payment_id"] == payment_id
    assert answer.json()["payment_url"] == link(payment_id)


def test_tokens_are_counted_once_over_a_cut(cut: Cut) -> None:
    """Two payments live, one could not be started."""
    until(lambda: show(cut.merchant, cut.asked[cut.refused["order_id"]])["status"] == 3, 15, "the failure is stored")
    assert tokens_used(cut.merchant) == cut.tokens + 2


def test_a_refund_that_was_under_way_is_asked_for_again_with_the_same_id(cut: Cut) -> None:
    """Section 6: the same refund, at most once."""
    found = until(
        lambda: [each for each in refunds_of(cut.merchant, cut.refunded)["items"] if each["status"] == "succeeded"],
        30,
        "it succeeds",
    )
    [refund] = found
    assert refund["amount"] == "40.00"
    calls = cut.mall.provider.refunds(cut.refunded)
    assert len(calls) >= 2
    assert {(call.body["refund_id"], call.headers["idempotency-key"]) for call in calls} == {
        (refund["refund_id"], refund["refund_id"])
    }
    assert show(cut.merchant, cut.refunded)["refundable"] == "60.00"


def test_a_restart_keeps_everything(cut: Cut) -> None:
    """Seen by merchant 2, who had nothing to do with the cut."""
    mall, body, headers, refund_key = cut.mall, wish(), keyed(), a_key()
    money_back = paid(mall, mall.merchant(2))
    first = ask(mall.merchant(2), body, headers=headers)
    payment_id = opened(first)
    made = mall.merchant(2).post("/api/v1/api-keys", json={"name": "kept", "scopes": ["payments:read"]})
    refunded = give_back(mall.merchant(2), money_back, refund_key, amount="1.00")
    assert (made.status_code, refunded.status_code) == (201, 201)
    before = everything(mall.merchant(2), payment_id, money_back)
    mall.server.restart()
    mall.forget_clients()
    who = mall.merchant(2)
    assert everything(who, payment_id, money_back) == before
    is_replay_of(ask(who, body, headers=headers), first)
    is_replay_of(give_back(who, money_back, refund_key, amount="1.00"), refunded)
    assert mall.with_key(made.json()["key"]).get(BASE).status_code == 200
    settled(report(mall, payment_id), "payment updated", payment_id, "PAYMENT_FINISHED")


def everything(who: httpx2.Client, *payment_ids: str) -> list[object]:
    found: list[object] = [who.get(BASE, params={"limit": 100}).json(), me(who)]
    for payment_id in payment_ids:
        found += [show(who, payment_id), track(who, payment_id), refunds_of(who, payment_id), ledger_of(who, payment_id)]
    return found
