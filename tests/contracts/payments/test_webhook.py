"""What a provider reports (section 4): each row of its table, and what must not be believed (F10 to F13)."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import httpx2
import pytest

from .provider import says
from .till import (
    BASE,
    NOWHERE,
    STATUS_NAMES,
    Mall,
    give_back,
    ledger_of,
    malformed,
    paid,
    pay_link,
    refunds_of,
    report,
    report_raw,
    rush,
    settled,
    show,
    signature,
    signed,
    status_of,
    track,
    wish,
)

FORGED = {"error": "invalid_signature"}
FAILED_WORDS = [
    "failed",
    "declined",
    "cancelled",
    "expired",
    "refunded",
    "FINISHED",
    "Finished",
    " finished",
    "finished ",
    "paid",
    "ok",
    "успех",
]


def sum_of(who: httpx2.Client, payment_id: str) -> tuple[str, str, int]:
    found = show(who, payment_id)
    return found["captured"], found["refunded"], found["status"]


def in_state(mall: Mall, who: httpx2.Client, status: int) -> str:
    """A payment with this status."""
    if status in {2, 6}:
        payment_id = paid(mall, who)
        if status == 6:
            assert give_back(who, payment_id).status_code == 201
        return payment_id
    payment_id = pay_link(who)
    if status == 3:
        settled(report(mall, payment_id, "failed"), "payment updated", payment_id, "PAYMENT_FAILED")
    return payment_id


# The table


@pytest.mark.parametrize(
    ("before", "word", "message", "after"),
    [
        (1, "finished", "payment updated", 2),
        (1, "failed", "payment updated", 3),
        (2, "finished", "already processed", 2),
        (2, "failed", "already processed", 2),
        (6, "finished", "already processed", 6),
        (6, "failed", "already processed", 6),
        (3, "finished", "payment updated", 2),
        (3, "failed", "already processed", 3),
    ],
)
def test_a_report_does_what_the_table_says(
    mall: Mall, merchant: httpx2.Client, before: int, word: str, message: str, after: int
) -> None:
    payment_id = in_state(mall, merchant, before)
    settled(report(mall, payment_id, word), message, payment_id, STATUS_NAMES[after])
    assert sum_of(merchant, payment_id) == (
        "349.70" if after in {2, 6} else "0.00",
        "349.70" if after == 6 else "0.00",
        after,
    )
    settled(report(mall, payment_id, word), "already processed", payment_id, STATUS_NAMES[after])


def test_a_paid_payment_that_is_called_failed_notes_it(mall: Mall, merchant: httpx2.Client) -> None:
    payment_id = in_state(mall, merchant, 2)
    before = track(merchant, payment_id)
    settled(report(mall, payment_id, "failed"), "already processed", payment_id, "PAYMENT_FINISHED")
    after = track(merchant, payment_id)
    assert after[: len(before)] == before
    assert len(after) > len(before)


@pytest.mark.parametrize("word", FAILED_WORDS)
def test_any_other_word_means_failed(mall: Mall, merchant: httpx2.Client, word: str) -> None:
    payment_id = pay_link(merchant)
    settled(report(mall, payment_id, word), "payment updated", payment_id, "PAYMENT_FAILED")
    assert status_of(merchant, payment_id) == 3


@pytest.mark.parametrize("word", ["pending", "processing"])
@pytest.mark.parametrize("state", [1, 2, 3, 6])
def test_a_provider_that_is_still_at_it_changes_nothing(mall: Mall, merchant: httpx2.Client, word: str, state: int) -> None:
    payment_id = in_state(mall, merchant, state)
    before = show(merchant, payment_id)
    answer = report(mall, payment_id, word)
    assert answer.status_code == 200, answer.text
    assert answer.json()["result"]["status"] == STATUS_NAMES[state]
    assert show(merchant, payment_id) == before
    if state == 1:
        settled(report(mall, payment_id), "payment updated", payment_id, "PAYMENT_FINISHED")


def test_a_late_fact_wins_over_several_failures(mall: Mall, merchant: httpx2.Client) -> None:
    """F11: whichever came first, money that arrived is there."""
    one, other = pay_link(merchant), pay_link(merchant)
    for payment_id, words in ((one, ["failed", "declined", "finished"]), (other, ["finished", "failed", "pending"])):
        for word in words:
            assert report(mall, payment_id, word).status_code == 200
    assert sum_of(merchant, one) == sum_of(merchant, other) == ("349.70", "0.00", 2)


def test_a_hundred_reports_at_once_take_effect_once(mall: Mall, merchant: httpx2.Client) -> None:
    """F10."""
    payment_id = pay_link(merchant)
    raw = json.dumps({"payment_id": payment_id, "status": "finished"}).encode()
    headers = {"X-Internal-Signature": signature(mall.server.webhook_secret, raw)}
    answers = rush(mall.server, [(f"{BASE}/webhook", raw, headers)] * 100)
    assert Counter(answer.status_code for answer in answers) == {200: 100}
    assert Counter(answer.json()["result"]["message"] for answer in answers) == {"payment updated": 1, "already processed": 99}
    assert {answer.json()["result"]["status"] for answer in answers} == {"PAYMENT_FINISHED"}
    assert [entry["kind"] for entry in ledger_of(merchant, payment_id)["entries"]] == ["capture"]
    assert len([event for event in track(merchant, payment_id) if event["event_type"] == 3]) == 1


def test_yes_and_no_at_once_end_as_yes(mall: Mall, merchant: httpx2.Client) -> None:
    ids = [pay_link(merchant) for _ in range(10)]
    posts = []
    for payment_id in ids:
        for word in ("failed", "finished", "failed", "pending"):
            raw = json.dumps({"payment_id": payment_id, "status": word}).encode()
            posts.append((f"{BASE}/webhook", raw, {"X-Internal-Signature": signature(mall.server.webhook_secret, raw)}))
    assert {answer.status_code for answer in rush(mall.server, posts)} == {200}
    assert {sum_of(merchant, payment_id) for payment_id in ids} == {("349.70", "0.00", 2)}


# Sums


@pytest.mark.parametrize(
    "more",
    [{"price": "349.70"}, {"price": 349.7}, {"price": "349.7"}, {"currency": "USD"}, {"price": "349.70", "currency": "USD"},
     {"note": "whatever", "merchant_id": 2, "amount": "9999"}],
    ids=str,
)  # fmt: skip
def test_a_sum_that_agrees_is_applied(mall: Mall, merchant: httpx2.Client, more: dict[str, Any]) -> None:
    payment_id = pay_link(merchant)
    settled(report(mall, payment_id, **more), "payment updated", payment_id, "PAYMENT_FINISHED")


@pytest.mark.parametrize(
    "more",
    [{"price": "349.69"}, {"price": "34970"}, {"price": 349.71}, {"price": "0.01"}, {"currency": "EUR"}, {"currency": "usd"},
     {"price": "349.70", "currency": "INR"}, {"price": "1.00", "currency": "USD"}],
    ids=str,
)  # fmt: skip
def test_a_sum_that_differs_is_not_applied(mall: Mall, merchant: httpx2.Client, more: dict[str, Any]) -> None:
    """F12. What is said correctly afterwards is."""
    payment_id = pay_link(merchant)
    for _ in range(2):
        settled(report(mall, payment_id, **more), "amount mismatch", payment_id, "PAYMENT_PENDING")
    assert sum_of(merchant, payment_id) == ("0.00", "0.00", 1)
    settled(report(mall, payment_id), "payment updated", payment_id, "PAYMENT_FINISHED")


# Signatures


def body_of(payment_id: str) -> bytes:
    return json.dumps({"payment_id": payment_id, "status": "finished"}).encode()


def test_a_report_is_signed_over_its_raw_bytes(mall: Mall, merchant: httpx2.Client) -> None:
    payment_id = pay_link(merchant)
    raw = f' {{ "status"  : "finished",\n"payment_id":"{payment_id}", "é": "\u00fc" }}\r\n'.encode()
    compact = json.dumps(json.loads(raw), separators=(",", ":")).encode()
    forged = report_raw(mall, raw, signature(mall.server.webhook_secret, compact).encode())
    assert (forged.status_code, forged.json()) == (403, FORGED)
    assert status_of(merchant, payment_id) == 1
    settled(signed(mall, raw), "payment updated", payment_id, "PAYMENT_FINISHED")


def forgeries(mall: Mall, raw: bytes) -> dict[str, list[bytes]]:
    """Signatures that are none."""
    right = signature(mall.server.webhook_secret, raw)
    return {
        "none": [],
        "empty": [b""],
        "upper case": [right.upper().encode()],
        "cut short": [right[:-1].encode()],
        "longer": [right.encode() + b"0"],
        "prefixed": [b"sha256=" + right.encode()],
        "one letter": [(("0" if right[0] != "0" else "1") + right[1:]).encode()],
        "another secret": [signature("somebody else's", raw).encode()],
        "no secret": [signature("", raw).encode()],
        "another body": [signature(mall.server.webhook_secret, raw + b" ").encode()],
        "in quotes": [b'"' + right.encode() + b'"'],
        "zeros": [b"0" * 64],
        "no ASCII": [b"\xff" * 64],
        "letters": ["подпись".encode()],
        "wide digits": ["".join(chr(ord(each) + 0xFEE0) for each in right).encode()],
        "long": [b"a" * 5000],
    }


KINDS = ["none", "empty", "upper case", "cut short", "longer", "prefixed", "one letter", "another secret", "no secret",
"another body", "in quotes",
         "zeros", "no ASCII", "letters", "wide digits", "long"]  # fmt: skip


@pytest.fixture(scope="module")
def untouched(mall: Mall) -> str:
    return pay_link(mall.merchant(1))


@pytest.mark.parametrize("kind", KINDS)
def test_a_report_that_is_not_signed_is_not_believed(mall: Mall, merchant: httpx2.Client, untouched: str, kind: str) -> None:
    """F13. Nothing is parsed before the signature is checked."""
    for raw in (body_of(untouched), body_of(NOWHERE), b"", b"{", b"\xff", b"[" * 20000):
        answer = report_raw(mall, raw, *forgeries(mall, raw)[kind])
        assert (answer.status_code, answer.json()) == (403, FORGED), (kind, raw[:20])
        assert mall.server.webhook_secret not in answer.text
    assert status_of(merchant, untouched) == 1


def test_no_merchants_header_replaces_a_signature(mall: Mall, untouched: str) -> None:
    for headers in ({"X-Api-Key": "sk_demo_1"}, {"X-Merchant-Id": "1"}):
        answer = report_raw(mall, body_of(untouched), headers=headers)
        assert (answer.status_code, answer.json()) == (403, FORGED)


@pytest.mark.parametrize(
    "headers", [{"X-Merchant-Id": "999"}, {"X-Merchant-Id": "2"}, {"X-Api-Key": "sk_nobody"}, {"X-Api-Key": "sk_demo_2"}], ids=str
)
def test_no_merchants_header_is_read(mall: Mall, merchant: httpx2.Client, headers: dict[str, str]) -> None:
    payment_id = pay_link(merchant)
    settled(signed(mall, body_of(payment_id), headers=headers), "payment updated", payment_id, "PAYMENT_FINISHED")


def test_the_content_type_is_not_looked_at(mall: Mall, merchant: httpx2.Client) -> None:
    payment_id = pay_link(merchant)
    settled(
        signed(mall, body_of(payment_id), headers={"Content-Type": "text/plain"}), "payment updated", payment_id, "PAYMENT_FINISHED"
    )


# Signed, but


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"{",
        b"[]",
        b"null",
        b"7",
        b'"x"',
        b"\xff\xfe",
        b"NaN",
        b"{}",
        b'{"status": "finished"}',
        b'{"payment_id": "canary"',
        f'{{"payment_id": "{NOWHERE}"}}'.encode(),
        f'{{"payment_id": "{NOWHERE}", "status": 2}}'.encode(),
        f'{{"payment_id": "{NOWHERE}", "status": null}}'.encode(),
        f'{{"payment_id": "{NOWHERE}", "status": ["finished"]}}'.encode(),
        b'{"payment_id": 7, "status": "finished"}',
        b'{"payment_id": null, "status": "finished"}',
        b'{"payment_id": {}, "status": "finished"}',
        b"[" * 20000 + b"]" * 20000,
    ],
    ids=lambda raw: repr(raw)[:50],
)
def test_a_signed_report_that_says_nothing_is_malformed(mall: Mall, raw: bytes) -> None:
    malformed(signed(mall, raw), "canary", "finished")


def test_a_report_of_an_unknown_payment_is_kept(mall: Mall) -> None:
    for _ in range(2):
        answer = report(mall, NOWHERE)
        assert answer.status_code == 202, answer.text
        assert answer.json()["result"]["message"] == "payment not found"


def test_a_signed_report_may_not_be_large(mall: Mall, untouched: str) -> None:
    raw = json.dumps({"payment_id": untouched, "status": "finished", "pad": "x" * 65536}).encode()
    answer = signed(mall, raw)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


# Refunds that a provider reports


@pytest.mark.parametrize(
    ("word", "status", "sums"),
    [("refunded", "succeeded", ("30.00", "70.00", "0.00")), ("failed", "failed", ("0.00", "100.00", "0.00")),
     ("rejected", "failed", ("0.00", "100.00", "0.00"))],
)  # fmt: skip
def test_a_provider_reports_what_became_of_a_refund(
    mall: Mall, merchant: httpx2.Client, word: str, status: str, sums: tuple[str, str, str]
) -> None:
    payment_id = paid(mall, merchant, wish(price=100))
    mall.provider.for_refund(payment_id, says(200, {"status": "pending"}))
    refund = give_back(merchant, payment_id, amount=30).json()
    assert (refund["status"], refund["refundable"]) == ("pending", "70.00")
    for _ in range(2):
        answer = report(mall, payment_id, word, refund_id=refund["refund_id"])
        assert answer.status_code == 200, answer.text
        assert answer.json()["result"]["status"] == "PAYMENT_FINISHED"
        found = refunds_of(merchant, payment_id)
        assert [item["status"] for item in found["items"]] == [status]
        assert (found["refunded"], found["refundable"], found["pending"]) == sums
    assert [entry["kind"] for entry in ledger_of(merchant, payment_id)["entries"]].count("refund") == (
        1 if status == "succeeded" else 0
    )


def test_a_whole_refund_that_fails_by_report_leaves_the_payment_paid(mall: Mall, merchant: httpx2.Client) -> None:
    """Ruling 3."""
    payment_id = paid(mall, merchant)
    mall.provider.for_refund(payment_id, says(202))
    refund = give_back(merchant, payment_id).json()
    assert (refund["status"], status_of(merchant, payment_id)) == ("pending", 6)
    assert report(mall, payment_id, "failed", refund_id=refund["refund_id"]).status_code == 200
    assert sum_of(merchant, payment_id) == ("349.70", "0.00", 2)
    assert give_back(merchant, payment_id).status_code == 201


def test_a_hundred_refund_reports_at_once_take_effect_once(mall: Mall, merchant: httpx2.Client) -> None:
    payment_id = paid(mall, merchant, wish(price=100))
    mall.provider.for_refund(payment_id, says(202))
    refund_id = give_back(merchant, payment_id, amount=30).json()["refund_id"]
    raw = json.dumps({"payment_id": payment_id, "status": "refunded", "refund_id": refund_id}).encode()
    headers = {"X-Internal-Signature": signature(mall.server.webhook_secret, raw)}
    assert {answer.status_code for answer in rush(mall.server, [(f"{BASE}/webhook", raw, headers)] * 100)} == {200}
    assert refunds_of(merchant, payment_id)["refunded"] == "30.00"
    assert [entry["kind"] for entry in ledger_of(merchant, payment_id)["entries"]] == ["capture", "refund"]
