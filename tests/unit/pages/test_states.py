"""The pay page has words for every state that a payment can be in, and the shop for everything that it may say."""

from __future__ import annotations

import itertools
import uuid
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from tests.pages.reading import Page

from kassa.pages.buyer import bank, pay
from kassa.pages.frame import _templates
from kassa.pages.language import Speech
from kassa.pages.shop import desk
from kassa.pages.shop.ordering import read
from kassa.payments.model import MOVES

PROVIDERS = ("simulated", "card", "link", "payme", "cash_on_delivery")
NOW = datetime(2026, 11, 21, tzinfo=UTC)
URLS = {"link": "http://127.0.0.1:8000/sandbox/pay/abc", "payme": "https://test.paycom.uz/bT0x/Yw=="}
METHODS = {"simulated": "credit_card", "card": "anything", "link": "link:stripe"}


def bill(status: str, provider: str, **more: Any) -> pay.Bill:
    payment = SimpleNamespace(
        payment_id=uuid.UUID(int=1), provider=provider, status=status, method=METHODS.get(provider, provider), alias="stripe",
        pay_url=URLS.get(provider), card_last4=None, amount_minor=5000, currency="INR", refunded_minor=10, expires_at=NOW,
        held_by=None, script="orders",
    )  # fmt: skip
    order = SimpleNamespace(
        merchant_id="1", channel="shop", order_id=uuid.UUID(int=2), order_number="ORD-1", currency="INR", total_minor=5000, lines=[]
    )
    for name, value in more.items():
        setattr(payment, name, value)
    return pay.Bill(payment, order, "token", is_mine=True)  # type: ignore[arg-type]


@pytest.mark.parametrize("code", ["en", "ru", "uz"])
@pytest.mark.parametrize(("status", "provider"), list(itertools.product(sorted(MOVES.statuses()), PROVIDERS)))
def test_every_state_is_said(code: str, status: str, provider: str) -> None:
    speech, shown = Speech(code), bill(status, provider)
    html = (
        _templates()
        .get_template("pay/state.html")
        .render(
            t=speech.say,
            speech=speech,
            bill=shown,
            payment=shown.payment,
            order=shown.order,
            merchant="Demo",
            again=None,
            said=None,
            mark="m",
            token="t",
            track="/track/x",
            hand_over=None,
            acts=bank.acts_for(shown.payment),
        )
    )
    page = Page(html)
    assert page.root.one(role="status").text
    assert "{" not in page.text


def test_nothing_is_asked_for_ever() -> None:
    over = {status for status in MOVES.statuses() if bill(status, "simulated").is_over}
    assert over == {"paid", "declined", "expired", "cancelled", "refunded", "reversed"}


def test_nobody_pays_while_it_is_not_known_whether_they_did() -> None:
    for provider, status in itertools.product(PROVIDERS, ("unknown", "parked")):
        shown = bill(status, provider)
        assert shown.state == status
        assert not shown.may_change_method
        assert not bank.acts_for(shown.payment)


def test_an_attempt_at_payme_keeps_its_buyer_from_leaving() -> None:
    assert bill("waiting", "payme").may_change_method
    assert not bill("waiting", "payme", held_by=uuid.UUID(int=3)).may_change_method


@pytest.mark.parametrize(
    ("provider", "url", "page"),
    [
        ("link", "http://localhost:8000/sandbox/pay/abc-_", "/sandbox/pay/abc-_"),
        ("link", "https://pay.example/sandbox/checkout/abc", None),
        ("link", None, None),
        ("payme", "https://test.paycom.uz/bT0x/Yw==", "/sandbox/payme/checkout/bT0x%2FYw%3D%3D"),
        ("payme", None, None),
        ("simulated", None, None),
    ],
)
def test_only_what_the_sandbox_holds_can_be_played(provider: str, url: str | None, page: str | None) -> None:
    assert bank.stand_in(bill("waiting", provider, pay_url=url).payment) == page


@pytest.mark.parametrize("code", ["en", "ru", "uz"])
def test_all_that_the_shop_may_say_has_words(code: str) -> None:
    say = Speech(code).say
    assert all(say(f"shop.said_{each}") for each in desk._SAID)
    assert all(say(f"pay.said_{each}") for each in pay._SAID - {"played"})
    assert all(say(f"shop.method_{each}", name="X") for each in pay._METHODS)
    wrong = set(read({"method": "credit_card"}, ["credit_card"], NOW).wrong.values()) | {"over", "method", "waiting"}
    assert all(say(f"shop.wrong_{each}") for each in wrong)


def test_the_last_month_of_a_card_is_good() -> None:
    sent = {"method": "credit_card", "card": "4242424242424242"}
    assert "expiry" not in read(sent | {"expiry": "11/26"}, ["credit_card"], NOW).wrong
    assert read(sent | {"expiry": "10/26"}, ["credit_card"], NOW).wrong["expiry"] == "over"


def test_a_card_is_not_read_where_another_way_was_chosen() -> None:
    asked = read({"method": "upi", "card": "4242424242424242"}, ["upi"], NOW)
    assert not asked.number
    assert "4242" not in repr(read({"method": "credit_card", "card": "4242424242424242"}, ["credit_card"], NOW))
