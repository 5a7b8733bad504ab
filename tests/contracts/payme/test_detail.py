"""What CheckPerformTransaction says of an order where the cashbox makes fiscal receipts (section 9.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .booking import Booking, kassa
from .paycom import KEY, PAYME_ID, Cashbox, Purchase, refused, result
from .texts import TROUBLE

if TYPE_CHECKING:
    from tests.conftest import StartKassa

CODES = ("--code", "06912001001000000", "--package", "1500001", "--vat", "12")
ITEM = {"count": 1, "code": "06912001001000000", "package_code": "1500001", "vat_percent": 12, "discount": 0}


@pytest.fixture(scope="module")
def fiscal(start_kassa: StartKassa) -> Booking:
    server = start_kassa(PAYME_ID=PAYME_ID, PAYME_KEY=KEY, PAYME_IS_TEST_MODE="true", PAYME_FISCAL="true")
    return Booking(server, Cashbox(server, KEY))


def params_of(purchase: Purchase) -> dict[str, object]:
    return {"amount": purchase.amount, "account": {"order_id": purchase.purchase_id}}


def test_the_receipt_says_what_is_in_the_order_as_soon_as_its_codes_are_known(fiscal: Booking) -> None:
    purchase = fiscal.buy(4, 1)
    refused(fiscal.cashbox.ask("CheckPerformTransaction", params_of(purchase)), TROUBLE)
    kassa(fiscal.server, "merchants", "payme", "fiscal", "1", "ambassadors", *CODES)
    kassa(fiscal.server, "merchants", "payme", "fiscal", "1", "ambassadors", *CODES[:5], "0", "--product", "1", "--units", "7")
    detail = result(fiscal.cashbox.ask("CheckPerformTransaction", params_of(purchase)))["detail"]
    first, second = detail["items"]
    assert detail["receipt_type"] == 0
    assert {**first, "title": ""} == {"title": "", "price": 2_500_000, **ITEM}
    assert {**second, "title": ""} == {"title": "", "price": 5_000_000, **ITEM, "vat_percent": 0, "units": 7}
    assert first["title"]
    assert second["title"]
    assert sum(item["price"] * item["count"] - item["discount"] for item in detail["items"]) == purchase.amount


def test_what_is_no_code_is_not_taken(fiscal: Booking) -> None:
    for words in (("--code", "abc", *CODES[2:]), (*CODES[:3], "1 2", *CODES[4:]), (*CODES[:5], "101")):
        kassa(fiscal.server, "merchants", "payme", "fiscal", "1", "ambassadors", *words, fails=True)


def test_a_cashbox_without_receipts_says_no_more_than_yes(booking: Booking, payme: Cashbox) -> None:
    assert result(payme.ask("CheckPerformTransaction", params_of(booking.buy()))) == {"allow": True}
