"""An order's number is unguessable, and no letter or log line takes it for a card's."""

from __future__ import annotations

import importlib
import re
from datetime import UTC, datetime, timedelta
from itertools import chain

import pytest

from kassa import orders
from kassa.kit.ids import new_id
from kassa.kit.logs import mask
from kassa.kit.neighbour import said
from kassa.orders import Line
from kassa.orders.model import Placement


def number_at(at: datetime) -> str:
    placement = Placement(
        merchant_id="1", order_id=new_id(), checkout_id=new_id(), payment_id=new_id(), channel="shop", buyer_id="7",
        payment_method="credit_card", currency="INR", lines=[Line("p", "A name", 9990, 2, 19980, None)], shipping_address={},
        delivery=timedelta(days=5), at=at,
    )  # fmt: skip
    return orders.draft(placement).order_number


def test_a_number_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    words = chain(["5261JBO3", "00000000", "12345678", "123A5678"], iter(lambda: "UNUSED00", None))
    monkeypatch.setattr(importlib.import_module("kassa.orders.place"), "random_word", lambda length: next(words)[:length])
    assert number_at(datetime(2026, 11, 22, tzinfo=UTC)) == "ORD-20261122-123A5678"
    sentence = "Your order ORD-20261122-123A5678 is on its way"
    assert (said(sentence), mask(sentence)) == (sentence, sentence)


def test_each_is_another() -> None:
    at = datetime(2026, 11, 22, 23, 59, tzinfo=UTC)
    numbers = {number_at(at + timedelta(days=n % 2)) for n in range(500)}
    assert len(numbers) == 500
    assert all(re.fullmatch(r"ORD-2026112[23]-[0-9A-Z]{8}", number) for number in numbers)
