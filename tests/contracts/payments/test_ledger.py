"""The books of one payment (section 6; I1, I2)."""

from __future__ import annotations

from decimal import Decimal

import httpx2
import pytest

from .provider import says
from .till import BASE, INSTANT, UUID7, Json, Mall, give_back, ledger_of, money, paid, pay_link, refunds_of, report, wish


def balances(found: Json) -> None:
    """Each entry sums to zero, and the balance is what the provider holds for us."""
    for entry in found["entries"]:
        assert set(entry) == {"entry_id", "kind", "occurred_at", "postings"}
        assert UUID7.fullmatch(entry["entry_id"])
        assert INSTANT.fullmatch(entry["occurred_at"])
        assert all(set(posting) == {"account", "amount"} for posting in entry["postings"])
        assert money(posting["amount"] for posting in entry["postings"]) == 0
    held = [
        posting["amount"]
        for entry in found["entries"]
        for posting in entry["postings"]
        if posting["account"].startswith("provider:")
    ]
    assert money(held) == Decimal(found["balance"])
    times = [entry["occurred_at"] for entry in found["entries"]]
    assert times == sorted(times)


def moves(found: Json) -> list[tuple[str, dict[str, str]]]:
    return [(entry["kind"], {posting["account"]: posting["amount"] for posting in entry["postings"]}) for entry in found["entries"]]


def test_the_example_of_the_contract_is_in_the_books(mall: Mall, merchant: httpx2.Client) -> None:
    payment_id = paid(mall, merchant)
    assert give_back(merchant, payment_id, amount="10.00").status_code == 201
    found = ledger_of(merchant, payment_id)
    assert set(found) == {"payment_id", "currency", "balance", "entries"}
    assert (found["payment_id"], found["currency"], found["balance"]) == (payment_id, "USD", "339.70")
    assert moves(found) == [
        ("capture", {"provider:stripe": "349.70", "merchant:1": "-349.70"}),
        ("refund", {"merchant:1": "10.00", "provider:stripe": "-10.00"}),
    ]
    balances(found)


def test_before_the_money_the_books_are_empty(merchant: httpx2.Client) -> None:
    payment_id = pay_link(merchant)
    assert ledger_of(merchant, payment_id) == {"payment_id": payment_id, "currency": "USD", "balance": "0.00", "entries": []}


@pytest.mark.parametrize(
    ("number", "currency", "price", "part", "left"),
    [(5, "JPY", "500", "1", "499"), (6, "KWD", "1.250", "0.001", "1.249"), (2, "EUR", "0.03", "0.01", "0.02")],
)
def test_the_books_are_in_the_merchants_currency(mall: Mall, number: int, currency: str, price: str, part: str, left: str) -> None:
    who = mall.merchant(number)
    payment_id = paid(mall, who, wish(price=price, alias="adyen"))
    assert give_back(who, payment_id, amount=part).status_code == 201
    found = ledger_of(who, payment_id)
    assert (found["currency"], found["balance"]) == (currency, left)
    assert moves(found) == [
        ("capture", {"provider:adyen": price, f"merchant:{number}": f"-{price}"}),
        ("refund", {f"merchant:{number}": part, "provider:adyen": f"-{part}"}),
    ]
    balances(found)


def test_entries_are_added_and_never_changed(mall: Mall, merchant: httpx2.Client) -> None:
    payment_id = paid(mall, merchant, wish(price="100.00"))
    seen: list[Json] = []
    for amount in ("1.00", "2.00", "97.00"):
        now = ledger_of(merchant, payment_id)["entries"]
        assert now[: len(seen)] == seen
        seen = now
        assert give_back(merchant, payment_id, amount=amount).status_code == 201
    report(mall, payment_id, "failed")
    report(mall, payment_id)
    found = ledger_of(merchant, payment_id)
    assert found["entries"][: len(seen)] == seen
    assert len(found["entries"]) == len(seen) + 1 == 4
    balances(found)


def test_the_balance_is_captured_less_refunded_whatever_the_provider_says(mall: Mall, merchant: httpx2.Client) -> None:
    payment_id = paid(mall, merchant, wish(price="100.00"))
    mall.provider.for_refund(payment_id, says(422), says(404), says(200, {"status": "refunded"}))
    for amount in ("10.00", "20.00", "30.00"):
        assert give_back(merchant, payment_id, amount=amount).status_code == 201
        found, sums = ledger_of(merchant, payment_id), refunds_of(merchant, payment_id)
        balances(found)
        assert Decimal(found["balance"]) == Decimal(sums["captured"]) - Decimal(sums["refunded"])
    assert ledger_of(merchant, payment_id)["balance"] == "70.00"


def test_the_books_need_the_scope_to_read(mall: Mall, merchant: httpx2.Client) -> None:
    payment_id = paid(mall, merchant)
    assert mall.with_key("sk_demo_1_read").get(f"{BASE}/{payment_id}/ledger").json() == ledger_of(merchant, payment_id)
    assert mall.nobody().get(f"{BASE}/{payment_id}/ledger").status_code == 401
