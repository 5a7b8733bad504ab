"""What a provider may answer to a refund, and when it is asked again (section 6)."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

import httpx2
import pytest

from .provider import CUT, HONEST, SILENT, Reply, says
from .till import (
    Json,
    Mall,
    at_once,
    becomes,
    give_back,
    ledger_of,
    paid,
    refunds_of,
    refusal,
    report,
    show,
    status_of,
    until,
    wish,
)

PENDING: dict[str, Reply] = {
    "pending": says(200, {"status": "pending"}),
    "pending with 201": says(201, {"status": "pending"}),
    "202": says(202),
    "202 that says refunded": says(202, {"status": "refunded"}),
    "429": says(429, {"detail": "slowly"}, Retry_After="1"),
    "500": says(500, {"status": "refunded"}),
    "502": says(502),
    "503": says(503, b"<html>away</html>"),
    "504": says(504),
    "cut": CUT,
    "silent": SILENT,
}
SUCCEEDED: dict[str, Reply] = {"200": says(200, {"status": "refunded"}), "201": says(201, {"status": "refunded", "id": "R-1"})}
FAILED: dict[str, Reply] = {
    "400": says(400),
    "409": says(409, {"status": "refunded"}),
    "422": says(422, {"detail": "too late"}),
    "failed": says(200, {"status": "failed"}),
    "failed with 201": says(201, {"status": "failed"}),
}
NO_REFUNDS: dict[str, Reply] = {"404": says(404), "405": says(405), "501": says(501)}


@dataclass(frozen=True)
class Story:
    """One refund of 40 on a payment of 100, as it was answered."""

    payment_id: str
    answer: httpx2.Response
    took: float

    @property
    def refund(self) -> Json:
        found: Json = self.answer.json()
        return found


@pytest.fixture(scope="module")
def stories(mall: Mall) -> dict[str, Story]:
    """All that a provider may answer at first; asked again it is honest, if it ever is."""
    merchant = mall.merchant(1)

    def tell(name: str, reply: Reply) -> Story:
        payment_id = paid(mall, merchant, wish(price="100.00"))
        mall.provider.for_refund(payment_id, reply, *([] if name in NO_REFUNDS else [HONEST]))
        answer = give_back(merchant, payment_id, amount="40.00", reason="damaged")
        return Story(payment_id, answer, answer.elapsed.total_seconds())

    told = {**SUCCEEDED, **FAILED, **NO_REFUNDS, **PENDING}
    # The silent one takes its three seconds while the others are told one by one, so that good answers lie between bad ones.
    others = [name for name in told if name != "silent"]
    silent, rest = at_once(lambda: [tell("silent", SILENT)], lambda: [tell(name, told[name]) for name in others])
    return {"silent": silent[0], **dict(zip(others, rest, strict=True))}


def sums(mall: Mall, payment_id: str) -> tuple[str, str, str]:
    found = refunds_of(mall.merchant(1), payment_id)
    return found["refunded"], found["pending"], found["refundable"]


@pytest.mark.parametrize("name", SUCCEEDED)
def test_a_yes_is_a_refund(mall: Mall, stories: dict[str, Story], name: str) -> None:
    story = stories[name]
    assert story.answer.status_code == 201, story.answer.text
    assert (story.refund["status"], story.refund["refunded"], story.refund["refundable"]) == ("succeeded", "40.00", "60.00")
    assert sums(mall, story.payment_id) == ("40.00", "0.00", "60.00")
    assert len(mall.provider.refunds(story.payment_id)) == 1


@pytest.mark.parametrize("name", FAILED)
def test_a_no_gives_the_sum_back(mall: Mall, stories: dict[str, Story], name: str) -> None:
    story = stories[name]
    assert story.answer.status_code == 201, story.answer.text
    assert (story.refund["status"], story.refund["refunded"], story.refund["refundable"]) == ("failed", "0.00", "100.00")
    assert sums(mall, story.payment_id) == ("0.00", "0.00", "100.00")
    who = mall.merchant(1)
    assert status_of(who, story.payment_id) == 2
    assert [entry["kind"] for entry in ledger_of(who, story.payment_id)["entries"]].count("refund") == 0
    assert len(mall.provider.refunds(story.payment_id)) == 1
    whole = give_back(who, story.payment_id)
    assert (whole.status_code, whole.json()["status"], whole.json()["amount"]) == (201, "succeeded", "100.00")


@pytest.mark.parametrize("name", [*PENDING, *NO_REFUNDS])
def test_what_is_neither_yes_nor_no_is_pending(stories: dict[str, Story], name: str) -> None:
    story = stories[name]
    assert story.answer.status_code == 201, story.answer.text
    told = {each: story.refund[each] for each in ("status", "amount", "refunded", "refundable")}
    assert told == {"status": "pending", "amount": "40.00", "refunded": "0.00", "refundable": "60.00"}
    assert story.took < 4.5


@pytest.mark.parametrize("name", PENDING)
def test_a_pending_refund_is_asked_for_again_with_the_same_id(mall: Mall, stories: dict[str, Story], name: str) -> None:
    """The first repeat comes after five seconds."""
    story = stories[name]
    until(lambda: sums(mall, story.payment_id) == ("40.00", "0.00", "60.00"), 25, "asked again, the provider says yes")
    first, second = mall.provider.refunds(story.payment_id)
    assert first.body == second.body
    assert first.body["refund_id"] == story.refund["refund_id"]
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"] == story.refund["refund_id"]
    assert second.at - first.at > 4.0
    [item] = refunds_of(mall.merchant(1), story.payment_id)["items"]
    assert (item["refund_id"], item["status"]) == (story.refund["refund_id"], "succeeded")


@pytest.mark.parametrize("name", NO_REFUNDS)
def test_a_provider_without_refunds_is_not_asked_again(mall: Mall, stories: dict[str, Story], name: str) -> None:
    for other in PENDING:  # by now each of these has been asked again
        until(lambda other=other: sums(mall, stories[other].payment_id)[0] == "40.00", 25, "asked again")
    story = stories[name]
    assert sums(mall, story.payment_id) == ("0.00", "40.00", "60.00")
    assert len(mall.provider.refunds(story.payment_id)) == 1


def test_an_operator_says_that_it_is_done(mall: Mall, merchant: httpx2.Client) -> None:
    payment_id = paid(mall, merchant, wish(price="100.00"))
    mall.provider.for_refund(payment_id, says(501))
    refund = give_back(merchant, payment_id, amount="40.00").json()
    assert sums(mall, payment_id) == ("0.00", "40.00", "60.00")
    command = [*mall.server.command[:-1], "payments", "refund-done", refund["refund_id"]]
    done = subprocess.run(
        command, env=mall.server.environment, cwd=mall.server.home, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert sums(mall, payment_id) == ("40.00", "0.00", "60.00")
    assert [entry["kind"] for entry in ledger_of(merchant, payment_id)["entries"]] == ["capture", "refund"]


# What a pending refund holds


def test_what_is_pending_cannot_be_refunded_again(mall: Mall, merchant: httpx2.Client) -> None:
    payment_id = paid(mall, merchant, wish(price="100.00"))
    mall.provider.for_refund(payment_id, says(404))
    assert give_back(merchant, payment_id, amount="70.00").json()["refundable"] == "30.00"
    refused = give_back(merchant, payment_id, amount="30.01")
    refusal(refused, 400, "refund_exceeds_captured", "Refund exceeds captured amount", refundable="30.00")
    found = show(merchant, payment_id)
    assert (found["status"], found["captured"], found["refunded"], found["refundable"]) == (2, "100.00", "0.00", "30.00")
    assert give_back(merchant, payment_id).json()["amount"] == "30.00"
    assert sums(mall, payment_id) == ("0.00", "100.00", "0.00")


def test_when_everything_is_on_its_way_the_payment_counts_as_refunded(mall: Mall, merchant: httpx2.Client) -> None:
    """Ruling 3."""
    payment_id = paid(mall, merchant)
    mall.provider.for_refund(payment_id, says(404))
    assert give_back(merchant, payment_id).json()["status"] == "pending"
    becomes(merchant, payment_id, 6)
    refusal(give_back(merchant, payment_id), 400, "not_refundable", "Payment is not refundable")
    for word in ("finished", "failed"):
        assert report(mall, payment_id, word).json()["result"] == {
            "message": "already processed",
            "payment_id": payment_id,
            "status": "PAYMENT_REFUNDED",
        }


def test_a_whole_refund_that_fails_leaves_the_payment_paid(mall: Mall, merchant: httpx2.Client) -> None:
    payment_id = paid(mall, merchant)
    mall.provider.for_refund(payment_id, says(422), HONEST)
    assert give_back(merchant, payment_id).json()["status"] == "failed"
    found = show(merchant, payment_id)
    assert (found["status"], found["refunded"], found["refundable"]) == (2, "0.00", "349.70")
    assert give_back(merchant, payment_id).json()["status"] == "succeeded"
    assert status_of(merchant, payment_id) == 6


def test_a_provider_that_is_not_there_is_asked_later(mall: Mall, merchant: httpx2.Client) -> None:
    payment_id = paid(mall, merchant)
    mall.provider.close()
    try:
        answer = give_back(merchant, payment_id, amount="1.00")
    finally:
        mall.provider.open()
    assert (answer.status_code, answer.json()["status"]) == (201, "pending")
    until(lambda: sums(mall, payment_id)[0] == "1.00", 25, "asked later")
    [call] = mall.provider.refunds(payment_id)
    assert call.headers["idempotency-key"] == answer.json()["refund_id"]
