"""Every line of the contract's table of bad input: a clear refusal, nothing echoed, nothing written."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .journeys import (
    MUMBAI,
    Json,
    add,
    buy_waiting,
    invalid,
    look,
    orders_of,
    place,
    quantities,
    refusal,
    success,
    wish,
)

CANARY = "canary-7731-never-echo"
NOBODYS_ID = "019b76da-9f2b-7e60-b3c4-0d9a8e7f6a51"


@pytest.fixture
def shopper(buyer: httpx2.Client) -> Iterator[httpx2.Client]:
    """A buyer with one line in the cart, who has nothing else at the end of the test."""
    add(buyer, "prod_003", 2)
    yield buyer
    assert (quantities(buyer), look(buyer)["version"]) == ({"prod_003": 2}, 1)
    assert orders_of(buyer)["total"] == 0


def nested(depth: int) -> str:
    """An object that is this many levels deep."""
    return '{"a":' * (depth - 1) + "{}" + "}" * (depth - 1)


def put_in(who: httpx2.Client, raw: str | bytes) -> httpx2.Response:
    return who.post("/api/cart/items", content=raw)


def order(who: httpx2.Client, **changes: object) -> httpx2.Response:
    return who.post("/api/orders", json=wish(**changes))


# Not JSON


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"{",
        b"null",
        b"[]",
        b"[{}]",
        b"1",
        b'"text"',
        b"true",
        b"productId=prod_001",
        b'{"productId": "prod_001",}',
        b"{'productId': 'prod_001'}",
        b'{"productId": "prod_001"} x',
        b'{"productId": "prod_001"}{}',
        b'{"productId": "prod_001", "productId": "prod_002"}',
        b'{"productId": "prod_001", "quantity": NaN}',
        b'{"productId": "prod_001", "quantity": Infinity}',
        b'{"productId": "prod_001", "quantity": -Infinity}',
        b'{"productId": "prod_001", "quantity": 01}',
        b'{"productId": "prod_\xff"}',
        b'{"productId": "prod_001", "x": ' + nested(25).encode() + b"}",
        b'{"productId": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
        b"[" * 60_000,
    ],
    ids=lambda raw: repr(raw[:40]),
)
def test_what_is_no_json_object_is_malformed(shopper: httpx2.Client, raw: bytes) -> None:
    item = look(shopper)["items"][0]["id"]
    refusal(put_in(shopper, raw), 400, "malformed_json")
    refusal(shopper.put(f"/api/cart/items/{item}", content=raw), 400, "malformed_json")
    refusal(shopper.post("/api/orders", content=raw), 400, "malformed_json")


def test_a_body_may_be_deep_but_not_too_deep(buyer: httpx2.Client) -> None:
    add(buyer)
    deep = json.dumps(wish())[:-1] + ', "paymentDetails": '
    too_deep = buyer.post("/api/orders", content=f"{deep}{nested(30)}}}")
    refusal(too_deep, 400, "malformed_json")
    success(buyer.post("/api/orders", content=f"{deep}{nested(15)}}}"), 201)


def test_a_repeated_member_inside_is_malformed_too(shopper: httpx2.Client) -> None:
    raw = json.dumps(wish()).replace('"city": "Mumbai"', '"city": "Mumbai", "city": "Pune"')
    refusal(shopper.post("/api/orders", content=raw), 400, "malformed_json")


# Too large


def test_a_body_may_fill_64_kib_and_no_more(buyer: httpx2.Client) -> None:
    raw = b'{"productId": "prod_001"}'
    refusal(put_in(buyer, raw.ljust(65_537)), 413, "too_large")
    assert look(buyer)["version"] == 0
    success(put_in(buyer, raw.ljust(65_536)), 201)


def test_a_large_body_without_a_length_is_too_large(shopper: httpx2.Client) -> None:
    def pieces() -> Iterator[bytes]:
        yield b'{"productId": "prod_001"'
        for _ in range(20):
            yield b" " * 4096
        yield b"}"

    refusal(shopper.post("/api/cart/items", content=pieces()), 413, "too_large")
    refusal(shopper.post("/api/orders", content=b"x" * 70_000), 413, "too_large")


def test_ten_thousand_lines_are_too_large(shopper: httpx2.Client) -> None:
    lines = [{"productId": "prod_001", "quantity": 1}] * 10_000
    refusal(order(shopper, items=lines), 413, "too_large")


# Members nobody asked for


@pytest.mark.parametrize("member", ["price", "userId", "totalPrice", "status", "items", "_"])
def test_an_add_takes_no_other_member(shopper: httpx2.Client, member: str) -> None:
    invalid(put_in(shopper, json.dumps({"productId": "prod_001", member: 1})), member)
    item = look(shopper)["items"][0]["id"]
    answer = shopper.put(f"/api/cart/items/{item}", json={"quantity": 1, member: 1})
    invalid(answer, member)


@pytest.mark.parametrize("member", ["totalAmount", "status", "userId", "price", "items", "paymentStatus", "id"])
def test_an_order_takes_no_other_member(shopper: httpx2.Client, member: str) -> None:
    invalid(order(shopper, **{member: 1}), member)


@pytest.mark.parametrize(
    "member",
    ["a" * 41, "with space", "<script>", "x1", "4111111111111111", "a-b", "a.b", "", "\u0000"],
)
def test_a_strange_member_is_not_called_by_its_name(shopper: httpx2.Client, member: str) -> None:
    answer = order(shopper, **{member: 1})
    assert invalid(answer) == ["?"]
    if len(member) > 5:
        assert member not in answer.text


# Adding


@pytest.mark.parametrize(
    "quantity",
    [
        *("0", "-1", "1000", "1.5", '"2"', '""', "true", "false", "[]", "[1]", "{}"),
        *("9223372036854775808", "18446744073709551617", "1e400", "-1e400", "1e-3", "0.1"),
    ],
)
def test_a_quantity_that_cannot_be_is_refused(shopper: httpx2.Client, quantity: str) -> None:
    invalid(put_in(shopper, f'{{"productId": "prod_001", "quantity": {quantity}}}'), "quantity")
    item = look(shopper)["items"][0]["id"]
    answer = shopper.put(f"/api/cart/items/{item}", content=f'{{"quantity": {quantity}}}')
    invalid(answer, "quantity")


WRONG_PRODUCTS: list[object] = [
    *(None, "", 1, 1.5, True, [], ["prod_001"], {}, "x" * 51, "prod_001\x00", "\x00"),
    *("prod 001", " prod_001", "prod_001\n", "prod/001", "prød", "🎁", "'; --"),
]


@pytest.mark.parametrize("body", [{}, {"quantity": 1}, *({"productId": wrong} for wrong in WRONG_PRODUCTS)], ids=repr)
def test_a_product_id_that_cannot_be_is_refused(shopper: httpx2.Client, body: Json) -> None:
    invalid(put_in(shopper, json.dumps(body)), "productId")


# The address


@pytest.mark.parametrize("field", MUMBAI)
@pytest.mark.parametrize(
    "text",
    [
        *(None, "", " ", "\t ", "\u00a0\u2003", "x" * 201, "a\x00b", "a\nb", "a\x7fb", "a\x1bb"),
        *(1, True, [], {"a": "b"}),
    ],
    ids=repr,
)
def test_an_address_text_that_cannot_be_is_refused(shopper: httpx2.Client, field: str, text: object) -> None:
    answer = order(shopper, shippingAddress={**MUMBAI, field: text})
    invalid(answer, f"shippingAddress.{field}")


@pytest.mark.parametrize("field", MUMBAI)
def test_an_address_text_that_is_missing_is_called_required(shopper: httpx2.Client, field: str) -> None:
    address = {name: text for name, text in MUMBAI.items() if name != field}
    details = refusal(order(shopper, shippingAddress=address), 422, "invalid_input")
    assert details == {"fields": [{"path": f"shippingAddress.{field}", "problem": "is required"}]}


@pytest.mark.parametrize("address", [None, "Mumbai", [], 5, True])
def test_an_address_must_be_an_object(shopper: httpx2.Client, address: object) -> None:
    invalid(order(shopper, shippingAddress=address), "shippingAddress")


def test_every_missing_text_is_named_at_once(shopper: httpx2.Client) -> None:
    paths = invalid(order(shopper, shippingAddress={}))
    assert {f"shippingAddress.{field}" for field in MUMBAI} <= set(paths)


@pytest.mark.parametrize(
    "extras",
    [
        {f"extra{n}": "x" for n in range(21)},
        {"x" * 51: "x"},
        {"": "x"},
        {"floor": "x" * 201},
        {"floor": 3},
        {"floor": ["3"]},
        {"floor": "a\x00b"},
        {"flo\x00or": "3"},
    ],
)
def test_extras_that_cannot_be_are_refused(shopper: httpx2.Client, extras: Json) -> None:
    invalid(order(shopper, shippingAddress={**MUMBAI, **extras}))


def test_half_a_character_is_no_text(shopper: httpx2.Client) -> None:
    raw = json.dumps(wish()).replace("Mumbai", "\\ud800")
    answer = shopper.post("/api/orders", content=raw)
    assert answer.status_code in {400, 422}, answer.text


# The method and the card


@pytest.mark.parametrize(
    "method",
    [
        *(None, "", "cash", "CREDIT_CARD", "link:", "link", "paypal", CANARY, 1, True, ["upi"]),
        *("credit_card ", "link: stripe", "x" * 5000, "upi\x00"),
    ],
    ids=lambda method: repr(method)[:30],
)
def test_a_method_that_is_none_is_refused(shopper: httpx2.Client, method: object) -> None:
    answer = order(shopper, paymentMethod=method)
    invalid(answer, "paymentMethod")
    assert CANARY not in answer.text


@pytest.mark.parametrize(
    "number",
    [
        *("abcd efgh ijkl mnop", "card", "411111111111111x", "**** **** **** ****", "123"),
        *("41111111111111111111", "4111 1111 1111 1111 1111", "*" * 16 + "1234", ""),
        *("4111.1111.1111.1111", "4111111111111111\x00", "4111111111111111;--", "1234 - " * 7),
        *(4111111111111111, ["4111111111111111"], True, "\uff14" + "\uff11" * 15),
    ],
)
def test_a_card_number_that_cannot_be_is_refused_unseen(shopper: httpx2.Client, number: object) -> None:
    details = {"cardNumber": number, "expiryDate": "12/30"}
    answer = order(shopper, paymentDetails=details)
    invalid(answer, "paymentDetails.cardNumber")
    if len(str(number)) > 5:
        assert str(number) not in answer.text
    assert "4111" not in answer.text


@pytest.mark.parametrize(
    "expiry",
    ["13/25", "00/25", "1225", "12/2025", "1/25", "12-25", "12/5", "ab/cd", "", " 12/25", 1225],
)
def test_an_expiry_that_is_no_month_and_year_is_refused(shopper: httpx2.Client, expiry: object) -> None:
    details = {"cardNumber": "4111111111111111", "expiryDate": expiry}
    answer = order(shopper, paymentDetails=details)
    invalid(answer, "paymentDetails.expiryDate")
    assert "4111" not in answer.text


@pytest.mark.parametrize("details", ["4111111111111111", [], ["4111111111111111"], 5, True])
def test_payment_details_must_be_an_object(shopper: httpx2.Client, details: object) -> None:
    answer = order(shopper, paymentDetails=details)
    invalid(answer, "paymentDetails")
    assert "4111" not in answer.text


def test_payment_details_over_four_kib_are_refused(shopper: httpx2.Client) -> None:
    invalid(order(shopper, paymentDetails={"pad": "x" * 4100}), "paymentDetails")


# What one agreed to


@pytest.mark.parametrize(
    ("total", "status", "code"),
    [
        *((total, 422, "invalid_input") for total in ('"500"', "true", "[]", "500.001", "1e-3")),
        *((total, 422, "invalid_input") for total in ("0.0001", "{}")),
        *((total, 400, "malformed_json") for total in ("NaN", "Infinity", "-Infinity", "1.", "+1")),
    ],
)
def test_a_total_that_is_no_money_is_refused(shopper: httpx2.Client, total: str, status: int, code: str) -> None:
    raw = json.dumps(wish())[:-1] + f', "expectedTotal": {total}}}'
    refusal(shopper.post("/api/orders", content=raw), status, code)


@pytest.mark.parametrize("version", ["1", 1.5, True, [], {}, 10.25])
def test_a_version_that_is_no_integer_is_refused(shopper: httpx2.Client, version: object) -> None:
    invalid(order(shopper, cartVersion=version), "cartVersion")


def test_optional_members_may_be_null(buyer: httpx2.Client) -> None:
    add(buyer)
    absent = {"paymentDetails": None, "cartVersion": None, "expectedTotal": None}
    success(buyer.post("/api/orders", json={**wish(), **absent}), 201)
    add(buyer)
    hidden = {"cardNumber": None, "expiryDate": None}
    place(buyer, paymentDetails=hidden)


# Nothing is echoed


def test_no_refusal_repeats_what_it_was_given(buyer: httpx2.Client, staff: httpx2.Client) -> None:
    add(buyer)
    own = buy_waiting(buyer)["id"]
    for answer in (
        put_in(buyer, json.dumps({"productId": CANARY, "quantity": CANARY})),
        put_in(buyer, json.dumps({"productId": f"{CANARY} {CANARY}"})),
        put_in(buyer, json.dumps({"productId": CANARY})),
        put_in(buyer, f'{{"{CANARY}"'),
        order(buyer, shippingAddress=CANARY, paymentMethod=CANARY, cartVersion=CANARY),
        order(buyer, **{CANARY: CANARY}),
        order(buyer, paymentMethod=f"link:{CANARY}"),
        staff.put(f"/api/orders/{own}/status", json={"status": CANARY, "note": [CANARY]}),
        buyer.get(f"/api/orders/{CANARY}"),
        buyer.get(f"/api/cart/{CANARY}"),
        buyer.get("/api/orders", params={"status": CANARY}),
        buyer.get("/api/products", params={"page": CANARY}),
        buyer.get(f"/api/products/{CANARY}"),
        buyer.delete("/api/cart", headers={"If-Match": CANARY}),
    ):
        assert 400 <= answer.status_code < 500
        assert CANARY not in answer.text


# Anything at all

PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
ANYTHING = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3), max_leaves=8
)
WISHES = st.fixed_dictionaries(
    {},
    optional={
        "productId": st.sampled_from(["prod_001", "prod_soldout"]) | ANYTHING,
        "quantity": st.integers(0, 1000) | ANYTHING,
        "status": st.sampled_from(["cancelled", "paid"]) | ANYTHING,
        "note": ANYTHING,
        "shippingAddress": st.just(MUMBAI) | st.dictionaries(st.sampled_from([*MUMBAI, "x"]), ANYTHING) | ANYTHING,
        "paymentMethod": st.sampled_from(["upi", "link:stripe", "payme", "link:"]) | ANYTHING,
        "paymentDetails": st.dictionaries(st.sampled_from(["cardNumber", "expiryDate", "x"]), ANYTHING) | ANYTHING,
        "cartVersion": ANYTHING,
        "expectedTotal": ANYTHING,
    },
)


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=60) | (WISHES | ANYTHING).map(lambda said: json.dumps(said).encode()))
def test_no_body_whatever_breaks_anything(buyer: httpx2.Client, body: bytes) -> None:
    for method, path in (
        ("POST", "/api/cart/items"),
        ("PUT", f"/api/cart/items/{NOBODYS_ID}"),
        ("POST", "/api/orders"),
        ("PUT", f"/api/orders/{NOBODYS_ID}/status"),
    ):
        answer = buyer.request(method, path, content=body)
        assert answer.status_code < 500, (method, path, body, answer.text)
        assert answer.json()["success"] is (answer.status_code < 300)
