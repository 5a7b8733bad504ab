"""What is not a purchase at all: section 7, line by line. Nothing that was sent is ever said back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from .journeys import (
    ADDRESS,
    Json,
    Shop,
    buy,
    changed,
    line,
    malformed,
    order_form,
    orders_of,
    problem,
    refusal,
    someone_signed_in,
    visitor,
    without,
)

CARD, CVV, EMAIL = "5309271846035512", "0847", "canary.bird@example.com"
KIBI64 = 64 * 1024


def canary_form(*items: Json) -> Json:
    return order_form(*(items or (line("prod_011"),)), card=CARD, cvv=CVV, email=EMAIL)


def said_back(text: str) -> list[str]:
    """What of the sender's own words stands in an answer."""
    return [word for word in (CARD, f'"{CVV}"', "canary", "530927", "Rua das Flores", "12/25") if word in text]


def refused_as_malformed(server: Shop, body: Json | bytes) -> list[Json]:
    with visitor(server) as guest:
        answer = buy(guest, body)
    found = malformed(answer)
    assert said_back(answer.text) == []
    return found


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" \n",
        b"{",
        b"card_number=5309271846035512",
        b"[]",
        b"[{}]",
        b"null",
        b"true",
        b"7",
        b'"5309271846035512"',
        b"\xff\xfe\x00",
        b'{"customer_email": "canary.bird@example.com\xff"}',
        b'{"payment_method": {"card_number": "5309271846035512", "card_cvv": "0847"}, }',
        b"[" * 5000 + b"]" * 5000,
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
        b"{}",
    ],
    ids=repr,
)
def test_what_is_not_an_object_of_json_is_malformed(server: Shop, body: bytes) -> None:
    refused_as_malformed(server, body)


@pytest.mark.parametrize("place", ["", "payment_method.", "items.0."])
@pytest.mark.parametrize("name", ["total", "status", "amount", "user_id", "merchant_id", "discount", "_", "x" * 40, "Price"])
def test_an_unknown_member_is_refused_and_named(server: Shop, place: str, name: str) -> None:
    found = refused_as_malformed(server, changed(canary_form(), f"{place}{name}", 1))
    steps_to = [int(part) if part.isdigit() else part for part in place.split(".") if part]
    assert [entry["loc"] for entry in found] == [["body", *steps_to, name]]


@pytest.mark.parametrize("place", ["", "payment_method.", "items.0."])
@pytest.mark.parametrize(
    "name",
    [CARD, "x" * 41, "card1", "card-number", "<script>", "größe", "", " ", "a b", "0847", "a\u0000b", "💳"],
    ids=repr,
)
def test_an_unknown_member_whose_name_may_be_a_secret_is_shown_as_a_question_mark(server: Shop, place: str, name: str) -> None:
    with visitor(server) as guest:
        answer = buy(guest, changed(canary_form(), f"{place}{name}", "whatever.was.sent"))
    (entry,) = malformed(answer)
    assert entry["loc"][-1] == "?"
    assert "whatever.was.sent" not in answer.text
    assert said_back(answer.text) == []
    assert len(name) < 4 or (name not in answer.text and json.dumps(name) not in answer.text)


@pytest.mark.parametrize("member", ["payment_method", "customer_email", "shipping_address", "items"])
@pytest.mark.parametrize("value", [None, 7, "canary", [], {}, True], ids=repr)
def test_a_member_of_the_wrong_kind_is_malformed(server: Shop, member: str, value: Any) -> None:
    found = refused_as_malformed(server, changed(canary_form(), member, value))
    assert {entry["loc"][1] for entry in found} == {member}


REQUIRED = [
    "payment_method",
    "payment_method.type",
    "payment_method.card_number",
    "payment_method.card_expiry",
    "payment_method.card_cvv",
    "customer_email",
    "shipping_address",
    "shipping_address.street",
    "shipping_address.number",
    "shipping_address.city",
    "shipping_address.state",
    "shipping_address.zip_code",
    "items",
    "items.0.product_id",
    "items.0.quantity",
]


@pytest.mark.parametrize("path", REQUIRED)
def test_a_required_member_that_is_missing_is_named(server: Shop, path: str) -> None:
    found = refused_as_malformed(server, without(canary_form(), path))
    assert [entry["loc"] for entry in found] == [_loc(path)]


def _loc(path: str) -> list[Any]:
    return ["body", *(int(part) if part.isdigit() else part for part in path.split("."))]


def wide(text: str) -> str:
    """The same digits in their full-width form, which Python too calls digits."""
    return "".join(chr(ord(each) + 0xFEE0) if each.isdigit() else each for each in text)


def wrong_values() -> list[tuple[str, Any]]:
    """Every value that section 7 (or a rule of section 2) refuses, with its place."""
    table: dict[str, list[Any]] = {
        "payment_method.type": ["paypal", "", "CREDIT_CARD", "credit_card ", None, 1],
        "payment_method.card_number": [
            "abcdefghijklmnop", "53092718460", "53092718460355125309", "", " ", "5309x27184603551", None,
            5309271846035512, ["5309271846035512"], wide(CARD), "5309_2718_4603_5512", "5309.2718.4603.5512",
            "٤١١١١١١١١١١١١١١١", "5309271846035512\n", "5309271846035512\u0000", "5309271846035512; DROP TABLE",
        ],
        "payment_method.card_expiry": [
            "13/25", "1225", "12/2025", "00/25", "1/25", "12-25", "12/2", "", " 12/25", "12/25 ", "12/25\n", "ab/cd", None,
            1225, wide("12/25"),
        ],
        "payment_method.card_cvv": ["12", "12345", "abc", 847, 123, "", "08 7", "0847\n", None, wide("123"), "-12", "1e3"],
        "customer_email": [
            "canary.bird.example.com", "canary bird@example.com", "canary@bird@example.com", "@example.com", "canary@",
            "", "@", " canary@example.com", "canary@example.com ", "canary@exa\tmple.com", "canary@example.com\n",
            "canary\u0000@example.com", "c" * 243 + "@example.com", None, 7, ["canary@example.com"],
        ],
        "items": [[], [line("prod_011")] * 101, {}, None, "prod_011"],
        "items.0": [None, "prod_011", [], 1],
        "items.0.product_id": ["", "p" * 51, None, 7, ["prod_011"], {"id": "prod_011"}],
        "items.0.quantity": [0, -1, 1000, 1.5, "2", True, 2**63, None, [], 10**400, -(2**63), "NaN"],
        "items.0.price": [-1, "99.90", 99.905, True, [], {}, -0.01, 49.001],
    }  # fmt: skip
    for member in ("street", "number", "city", "state", "zip_code"):
        table[f"shipping_address.{member}"] = [
            "", "   ", "c" * 201, "can\u0007ary", "can\nary", "can\u0000ary", "can\u007fary", None, 7, ["canary"],
        ]  # fmt: skip
    table["shipping_address.complement"] = ["c" * 201, 7, None, ["canary"], {"canary": "bird"}, "can\u0000ary"]
    return [(path, value) for path, values in table.items() for value in values]


@pytest.mark.parametrize(("path", "value"), wrong_values(), ids=lambda part: repr(part)[:40])
def test_a_wrong_value_is_malformed_at_its_place_and_not_said_back(server: Shop, path: str, value: Any) -> None:
    with visitor(server) as guest:
        answer = buy(guest, changed(canary_form(), path, value))
    found = malformed(answer)
    assert said_back(answer.text) == []
    place = _loc(path)
    for entry in found:
        assert entry["loc"][: len(place)] == place, found
    if isinstance(value, str) and len(value) > 5:
        assert value not in answer.text
        assert json.dumps(value)[1:-1] not in answer.text


NO_NUMBERS = [b"NaN", b"Infinity", b"-Infinity", b"1e-3", b"99.900000000000000000001", b"0x10", b"1_000", b"01", b".5"]


@pytest.mark.parametrize(
    ("member", "number"),
    [("quantity", b"1e400"), *((member, number) for member in ("price", "quantity") for number in NO_NUMBERS)],
    ids=repr,
)
def test_a_number_that_is_none_is_malformed(server: Shop, member: str, number: bytes) -> None:
    body = json.dumps(changed(canary_form(line("prod_001")), f"items.0.{member}", 777777)).encode()
    refused_as_malformed(server, body.replace(b"777777", number))


def test_a_price_beyond_all_measure_is_refused_one_way_or_the_other(server: Shop) -> None:
    """`1e400` is a number, and no product's price."""
    body = json.dumps(changed(canary_form(line("prod_001")), "items.0.price", 777777)).encode()
    with visitor(server) as guest:
        answer = buy(guest, body.replace(b"777777", b"1e400"))
    assert answer.status_code == 422, answer.text
    assert said_back(answer.text) == []


def test_more_than_999_of_a_product_over_two_lines_is_malformed(server: Shop) -> None:
    refused_as_malformed(server, canary_form(line("prod_005", 500), line("prod_005", 500)))


def test_more_than_twenty_extra_members_of_an_address_are_malformed(server: Shop) -> None:
    extras = {f"extra_{number}": "x" for number in range(21)}
    found = refused_as_malformed(server, changed(canary_form(), "shipping_address", {**ADDRESS, **extras}))
    assert all(entry["loc"][:2] == ["body", "shipping_address"] for entry in found)


def test_several_faults_are_told_together_or_at_least_one(server: Shop) -> None:
    form = changed(changed(canary_form(), "items.0.quantity", 0), "payment_method.card_cvv", CVV + "1")
    found = refused_as_malformed(server, form)
    assert {tuple(entry["loc"]) for entry in found} <= {
        ("body", "items", 0, "quantity"),
        ("body", "payment_method", "card_cvv"),
    }


@pytest.mark.parametrize(
    "path",
    ["customer_email", "shipping_address.street", "shipping_address.complement", "items.0.product_id", "payment_method.type"],
)
def test_half_a_character_is_not_text(server: Shop, path: str) -> None:
    r"""A lone `\ud800` is allowed by JSON's grammar, and cannot be written as UTF-8."""
    body = json.dumps(changed(canary_form(), path, "HALF@x.y")).replace("HALF", "\\ud800").encode()
    with visitor(server) as guest:
        answer = buy(guest, body)
    assert answer.status_code == 422, answer.text
    assert said_back(answer.text) == []


def test_ten_thousand_lines_and_a_thousand_unknown_members_make_a_short_answer(server: Shop) -> None:
    many = json.dumps({**canary_form(), **{f"a{'b' * n}": 1 for n in range(200)}}).encode()
    lines = json.dumps(canary_form(*([{"product_id": "p", "quantity": 0}] * 1200))).encode()
    assert max(len(many), len(lines)) < KIBI64
    with visitor(server) as guest:
        for body in (many, lines):
            answer = buy(guest, body)
            malformed(answer)
            assert said_back(answer.text) == []
            assert len(answer.content) < 4 * KIBI64


def test_a_malformed_request_makes_no_checkout_and_no_order(server: Shop) -> None:
    token = server.token(someone_signed_in())
    with visitor(server, token) as client:
        answer = buy(client, changed(canary_form(), "items.0.quantity", 0))
    malformed(answer)
    assert "checkout_id" not in answer.text
    assert orders_of(server, token) == []


def test_64_kibibytes_are_read_and_one_more_is_too_large(server: Shop) -> None:
    form = json.dumps(canary_form()).encode()
    with visitor(server) as guest:
        fits = buy(guest, form + b" " * (KIBI64 - len(form)))
        over = buy(guest, form + b" " * (KIBI64 - len(form) + 1))
        far_over = buy(guest, form + b" " * 2_000_000)
    assert fits.status_code == 200, fits.text
    for answer in (over, far_over):
        problem(answer, 413, "Too large")
        assert said_back(answer.text) == []


def test_a_body_without_a_length_is_counted_too(server: Shop) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(20):
            yield b" " * 8192

    with visitor(server) as guest:
        answer = guest.post("/checkout/process", content=pieces(), headers={"Content-Type": "application/json"})
    problem(answer, 413, "Too large")


def test_a_refusal_does_not_say_back_what_was_asked_for(server: Shop) -> None:
    with visitor(server) as guest:
        for form in (
            canary_form(line("prod_nobody")),
            canary_form(line("prod_001", 1, 1.23)),
            canary_form(line("prod_soldout")),
            canary_form(line("prod_001", 11)),
        ):
            answer = buy(guest, form)
            assert answer.status_code == 422
            assert said_back(answer.text) == []


@pytest.mark.parametrize("product_id", ["prod 001", "prod_001'--", "größe", "PROD_001", "../prod_001", "prod_001 ", "💳"])
def test_a_product_id_of_odd_characters_is_a_product_that_nobody_sells(server: Shop, product_id: str) -> None:
    """`product_id` is text of 1 to 50 characters; whatever it says, it is looked up and never trusted."""
    with visitor(server) as guest:
        answer = buy(guest, canary_form(line(product_id)))
    refusal(answer, "Unknown product", "unknown_product")


def test_a_product_id_with_a_nul_is_refused_one_way_or_the_other(server: Shop) -> None:
    with visitor(server) as guest:
        answer = buy(guest, canary_form(line("prod\u0000_011")))
    assert answer.status_code == 422, answer.text
    assert said_back(answer.text) == []
