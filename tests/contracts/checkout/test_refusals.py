"""A well-formed wish that cannot be granted: what is said, in which order, and that nothing is charged (section 3)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .journeys import (
    DECLINED_CARD,
    Shop,
    buy,
    id_of,
    line,
    look,
    order_form,
    orders_of,
    problem,
    refusal,
    someone_signed_in,
    steps,
    stock_of,
    visitor,
    written,
)

NOBODYS = line("prod_nobody_sells_this")
WRONG_PRICE = line("prod_001", 1, 99.91)
TOO_MANY = line("prod_soldout", 1)
TOO_DEAR = line("prod_012", 1, 9999999.99)


def test_a_product_that_nobody_sells_is_refused_by_name(server: Shop) -> None:
    with visitor(server) as guest:
        answer = buy(guest, order_form(line("prod_001"), NOBODYS))
        refusal(answer, "Unknown product", "unknown_product")
        seen = look(guest, id_of(answer))
    assert (seen["status"], seen["error"], seen["payment_id"]) == ("failed", "Unknown product", None)
    assert seen["message"] == answer.json()["detail"]["message"]
    assert steps(seen) == {}


@pytest.mark.parametrize("price", [99.91, 99.89, 99, 0, 199.80, 9990, 99999999])
def test_another_price_is_refused_and_the_present_one_is_told(server: Shop, price: float) -> None:
    with visitor(server) as guest:
        answer = buy(guest, order_form(line("prod_001", 2, price), line("prod_002", 1, 149.90)))
        detail = refusal(answer, "Price changed", "price_changed")
        seen = look(guest, id_of(answer))
    assert {"product_id": "prod_001", "price": 99.9} in detail["items"]
    assert all(set(item) == {"product_id", "price"} for item in detail["items"])
    assert "99.9" in written(answer, "price")
    assert (seen["status"], seen["error"], seen["payment_id"]) == ("failed", "Price changed", None)
    assert "payment" not in steps(seen)


def test_one_wrong_price_among_two_lines_of_a_product_is_enough(server: Shop) -> None:
    with visitor(server) as guest:
        answer = buy(guest, order_form(line("prod_001", 1, 99.90), line("prod_001", 1, 99.91)))
    refusal(answer, "Price changed", "price_changed")


@pytest.mark.parametrize("price", [b"99.9", b"99.90", b"99.9000", b"9.99e1"])
def test_a_price_is_a_number_however_it_is_written(server: Shop, price: bytes) -> None:
    body = json.dumps(order_form(line("prod_001", 1, 7777.77))).encode().replace(b"7777.77", price)
    with visitor(server) as guest:
        answer = buy(guest, body)
    assert answer.status_code == 200, answer.text


def test_more_than_there_is_is_refused_with_both_numbers(server: Shop) -> None:
    with visitor(server) as guest:
        answer = buy(guest, order_form(line("prod_soldout", 2, 4999), line("prod_001", 1, 99.90)))
        detail = refusal(answer, "Insufficient stock", "stock_insufficient")
        seen = look(guest, id_of(answer))
    assert detail["items"] == [{"product_id": "prod_soldout", "requested": 2, "available": 0}]
    assert (seen["status"], seen["error"], seen["payment_id"]) == ("failed", "Insufficient stock", None)
    assert "payment" not in steps(seen)


def test_two_lines_of_a_product_ask_for_their_sum(server: Shop) -> None:
    with visitor(server) as guest:
        answer = buy(guest, order_form(line("prod_few", 3), line("prod_few", 3)))
    detail = refusal(answer, "Insufficient stock", "stock_insufficient")
    (short,) = detail["items"]
    assert (short["product_id"], short["requested"]) == ("prod_few", 6)
    assert 0 <= short["available"] <= 5


@pytest.mark.parametrize(
    ("items", "error"),
    [
        ([NOBODYS, WRONG_PRICE, TOO_MANY, TOO_DEAR], "Unknown product"),
        ([TOO_DEAR, TOO_MANY, WRONG_PRICE, NOBODYS], "Unknown product"),
        ([TOO_MANY, WRONG_PRICE, TOO_DEAR], "Price changed"),
        ([TOO_DEAR, WRONG_PRICE, TOO_MANY], "Price changed"),
        ([line("prod_soldout", 1, 4998)], "Price changed"),
        ([line("prod_nobody", 1, 0)], "Unknown product"),
        ([line("prod_nobody", 999)], "Unknown product"),
        ([TOO_DEAR, TOO_MANY], "Insufficient stock"),
        ([TOO_DEAR], "Payment processing failed"),
    ],
)
def test_reasons_are_looked_for_in_their_order(server: Shop, items: list[dict[str, Any]], error: str) -> None:
    with visitor(server) as guest:
        answer = buy(guest, order_form(*items, card=DECLINED_CARD))
    refusal(answer, error)


def test_eleven_mice_are_too_dear_for_the_stand_ins_card(server: Shop) -> None:
    with visitor(server) as guest:
        answer = buy(guest, order_form(line("prod_001", 11)))
        detail = refusal(answer, "Payment processing failed", "insufficient_funds")
        seen = look(guest, id_of(answer))
    assert detail["message"] == "Insufficient funds in account"
    assert set(detail) == {"checkout_id", "error", "message", "code"}
    assert (seen["status"], seen["error"]) == ("failed", "Payment processing failed")
    assert seen["message"] == "Insufficient funds in account"
    assert list(steps(seen).items()) == [("stock", "undone"), ("payment", "refused")]


@pytest.mark.parametrize("card", [DECLINED_CARD, "4111-1111-1111 0002", "000000000002", "9999999999999990002"])
def test_a_card_that_ends_in_0002_is_declined(server: Shop, card: str) -> None:
    with visitor(server) as guest:
        answer = buy(guest, order_form(line("prod_011"), card=card))
        refusal(answer, "Payment processing failed", "card_declined")
        seen = look(guest, id_of(answer))
    assert seen["status"] == "failed"
    digits = card.replace(" ", "").replace("-", "")
    assert card not in answer.text
    assert digits not in answer.text


def test_0002_elsewhere_in_the_number_declines_nothing(server: Shop) -> None:
    with visitor(server) as guest:
        assert buy(guest, order_form(line("prod_011"), card="4111000211111111")).status_code == 200


def test_a_declined_buyer_gives_the_stock_back(server: Shop) -> None:
    with visitor(server) as guest:
        before = stock_of(server, "prod_010")
        answer = buy(guest, order_form(line("prod_010", 200)))
        if answer.json()["detail"]["error"] == "Insufficient stock":
            pytest.skip("somebody else bought a monitor meanwhile")
        refusal(answer, "Payment processing failed", "insufficient_funds")
        assert look(guest, id_of(answer))["status"] == "failed"
        assert stock_of(server, "prod_010") == before


def test_a_declined_buyer_has_no_paid_order(server: Shop) -> None:
    token = server.token(someone_signed_in())
    with visitor(server, token) as client:
        refusal(buy(client, order_form(card=DECLINED_CARD)), "Payment processing failed", "card_declined")
    assert [order for order in orders_of(server, token) if order["status"] != "cancelled"] == []
    assert [order for order in orders_of(server, token) if order["paymentStatus"] == "paid"] == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/checkout/process"),
        ("PUT", "/checkout/process"),
        ("PATCH", "/checkout/process"),
        ("DELETE", "/checkout/process"),
        ("POST", "/checkout/0198c0de-0000-7000-8000-000000000000"),
        ("DELETE", "/checkout/0198c0de-0000-7000-8000-000000000000"),
    ],
)
def test_a_verb_that_a_route_does_not_have_is_405(server: Shop, method: str, path: str) -> None:
    with visitor(server) as guest:
        answer = guest.request(method, path)
    problem(answer, 405)
    assert "Allow" in answer.headers


@pytest.mark.parametrize("path", ["/checkout/process/again", "/checkout/process/", "/checkout/a/b/c"])
def test_a_path_that_is_not_there_is_404_in_the_same_shape(server: Shop, path: str) -> None:
    with visitor(server) as guest:
        problem(guest.post(path, json=order_form()), 404, "Not found")
