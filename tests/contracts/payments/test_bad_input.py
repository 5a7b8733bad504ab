"""Bad input (section 8): each row, and what an attacker would add to it. Nothing that was sent is ever said back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from .till import BASE, NOWHERE, Mall, an_order, ask, malformed, opened, refusal, tokens_used, wish, without

KIBI64 = 64 * 1024
CANARY = "canary-7f3a"


def wide(text: str) -> str:
    return "".join(chr(ord(each) + 0xFEE0) if each.isdigit() else each for each in text)


def arabic(text: str) -> str:
    return "".join(chr(ord(each) - ord("0") + 0x0660) if each.isdigit() else each for each in text)


NOT_A_NUMBER: list[Any] = [
    None,
    True,
    False,
    [],
    {},
    ["1"],
    {"minor": 1},
    "",
    " ",
    "abc",
    "1e3",
    "1E3",
    "1e400",
    " 1",
    "1 ",
    "1\n",
    "+1",
    "-1",
    "-0",
    "1.",
    ".5",
    "1.2.3",
    "1,50",
    "1'000",
    "1_000",
    "0x10",
    "0b1",
    "1/2",
    "$1",
    "1 USD",
    "NaN",
    "nan",
    "sNaN",
    "Infinity",
    "-Infinity",
    "inf",
    "\u0000" + "1",
    "1\u0000",
    "1\u200b",
    "\u22121",
    "½",
    "²",
    arabic("12"),
    wide("12"),
    arabic("12.50"),
    "1\u066b5",
    "0",
    "0.00",
    "0" * 40,
    0,
    -1,
    0.0,
    -0.0,
    -1e-9,
    "9" * 40,
    "9" * 5000,
]
RAW_NUMBERS = [
    "-0", "-0.0", "0e5", "0e999999999", "1e400", "1E+400", "-1e400", "1e-400", "1e999999999", "1e-999999999",
    "1E99999999999999999999",
    "9" * 40, "9" * 5000, "0." + "0" * 5000 + "1", "1" + "0" * 20, "-5", "1e16", "0.000000001",
]  # fmt: skip


def refused(who: httpx2.Client, member: str, value: Any) -> None:
    """A 422 that names the member, keeps the value to itself and does nothing."""
    body = wish(**{member: value})
    answer = who.post(BASE, json=body)
    assert all(member in entry["loc"] for entry in malformed(answer))
    assert len(str(value)) < 10 or str(value) not in answer.text
    assert who.get(BASE, params={"order_id": body["order_id"]}).json()["total"] == 0


@pytest.mark.parametrize("value", NOT_A_NUMBER, ids=lambda value: repr(value)[:40])
def test_what_is_no_money_is_no_price(merchant: httpx2.Client, value: Any) -> None:
    refused(merchant, "price", value)


@pytest.mark.parametrize("value", NOT_A_NUMBER, ids=lambda value: repr(value)[:40])
def test_what_is_no_quantity_is_no_amount(merchant: httpx2.Client, value: Any) -> None:
    refused(merchant, "amount", value)


@pytest.mark.parametrize("member", ["amount", "price"])
@pytest.mark.parametrize("raw", RAW_NUMBERS, ids=lambda raw: raw[:24])
def test_a_number_beyond_reason_is_refused_quickly(merchant: httpx2.Client, member: str, raw: str) -> None:
    """F73: an exponent must not be computed before it is judged."""
    answer = merchant.post(BASE, content=json.dumps(wish(**{member: "@"})).replace('"@"', raw))
    malformed(answer)
    assert answer.elapsed.total_seconds() < 2


@pytest.mark.parametrize("value", ["1234567890123", 1234567890123, "0.123456789", 0.123456789, "1.000000001"])
def test_a_quantity_has_at_most_twelve_and_eight_digits(merchant: httpx2.Client, value: Any) -> None:
    refused(merchant, "amount", value)


@pytest.mark.parametrize(
    ("number", "value"),
    [
        (1, "12.345"),
        (1, 12.345),
        (1, 10.005),
        (1, "10.005"),
        (1, "0.001"),
        (1, "0.0100000001"),
        (2, "1.999"),
        (5, "1.5"),
        (5, 1.5),
        (5, "0.01"),
        (6, "1.2345"),
        (6, 1.2345),
        (6, "0.0001"),
        (1, "10000000000000"),
        (5, 10**15),
        (6, "1000000000000.000"),
    ],
)
def test_a_price_finer_or_larger_than_its_currency_is_refused(mall: Mall, number: int, value: Any) -> None:
    refused(mall.merchant(number), "price", value)


@pytest.mark.parametrize(
    "value",
    [0, -1, 1.5, True, False, None, "", "x" * 65, "ü" * 65, 2**63, 2**64, -(2**63), " 7", "7 ", " ", "\t7", "7\n",
     "a\u0000b", "a\nb", "a\x7f",
     "a\x1b[31m", [], {}, [1], {"id": 1}],
    ids=repr,
)  # fmt: skip
def test_what_is_no_order_id_is_refused(merchant: httpx2.Client, value: Any) -> None:
    malformed(merchant.post(BASE, json=wish(order_id=value)))


@pytest.mark.parametrize(
    "raw", ["1.0", "1.5", "-0", "0", "1e400", "9" * 5000, "9223372036854775808", '"\\ud800"', '"a\\ud800b"', '"\\udc00"']
)
def test_what_is_no_order_id_in_the_raw_is_refused(merchant: httpx2.Client, raw: str) -> None:
    malformed(merchant.post(BASE, content=json.dumps(wish(order_id="@")).replace('"@"', raw)))


@pytest.mark.parametrize("value", [None, "", "a" * 65, 7, True, [], {}, ["stripe"]], ids=repr)
def test_what_is_no_alias_is_malformed(merchant: httpx2.Client, value: Any) -> None:
    malformed(merchant.post(BASE, json=wish(alias=value)))


@pytest.mark.parametrize("value", [True, 1.5, [], {}, [1]], ids=repr)
def test_what_is_no_subscription_id_is_malformed(merchant: httpx2.Client, value: Any) -> None:
    malformed(merchant.post(BASE, json=wish(subscription_id=value)))


@pytest.mark.parametrize("value", ["", "x" * 256, 7, True, [], {}], ids=repr)
def test_what_is_no_event_id_is_malformed(merchant: httpx2.Client, value: Any) -> None:
    malformed(merchant.post(BASE, json=wish(event_id=value)))


@pytest.mark.parametrize("member", ["order_id", "amount", "price", "alias"])
def test_a_required_member_that_is_missing_is_named(merchant: httpx2.Client, member: str) -> None:
    found = malformed(merchant.post(BASE, json=without(wish(), member)))
    assert [entry["loc"][-1] for entry in found] == [member]


def test_all_that_is_wrong_is_told_and_nothing_that_was_sent(merchant: httpx2.Client) -> None:
    body = {"order_id": CANARY * 9, "amount": CANARY, "price": CANARY, "alias": [CANARY], CANARY: CANARY}
    malformed(merchant.post(BASE, json=body), CANARY)


# The body


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" \n",
        b"{",
        b"order_id=canary-7f3a",
        b"[]",
        b"[{}]",
        b"null",
        b"true",
        b"7",
        b"NaN",
        b"Infinity",
        b'"canary-7f3a"',
        b"\xff\xfe\x00",
        b'{"order_id": "canary-7f3a\xff", "amount": 1, "price": 1, "alias": "stripe"}',
        b'{"order_id": "canary-7f3a", "amount": NaN, "price": 1, "alias": "stripe"}',
        b'{"order_id": "canary-7f3a", "amount": 1, "price": Infinity, "alias": "stripe"}',
        b'{"order_id": "canary-7f3a", "amount": 1, "price": -Infinity, "alias": "stripe"}',
        b'{"order_id": "canary-7f3a", "amount": 1, "price": 1, "alias": "stripe", "x": NaN}',
        b'{"order_id": "canary-7f3a", "amount": 1, "price": 1, "alias": "stripe"} x',
        b'{"order_id": "canary-7f3a", "amount": 1, "price": 01, "alias": "stripe"}',
        b'{"order_id": "canary-7f3a", "amount": 1, "price": +1, "alias": "stripe"}',
        b'{"order_id": "canary-7f3a", "amount": 1, "price": .5, "alias": "stripe"}',
        b"{'order_id': 'canary-7f3a'}",
        b'{"order_id": "canary-7f3a", "amount": 1, "price": 1, "alias": "stripe",}',
        '{"order_id": "canary-7f3a", "amount": 1, "price": 1, "alias": "stripe"}'.encode("utf-16"),
        b"[" * 30000 + b"]" * 30000,
        b'{"a":' * 10000 + b"1" + b"}" * 10000,
        b"{}",
    ],
    ids=lambda raw: repr(raw)[:60],
)
def test_what_is_not_an_object_of_json_is_malformed(merchant: httpx2.Client, raw: bytes) -> None:
    malformed(merchant.post(BASE, content=raw), CANARY)


def padded(size: int) -> bytes:
    body = wish(x="")
    body["x"] = "x" * (size - len(json.dumps(body)))
    raw = json.dumps(body).encode()
    assert len(raw) == size
    return raw


def test_a_body_of_64_kib_is_taken_and_one_byte_more_is_not(merchant: httpx2.Client) -> None:
    opened(merchant.post(BASE, content=padded(KIBI64)))
    refusal(merchant.post(BASE, content=padded(KIBI64 + 1)), 413, "too_large")


def test_a_body_that_does_not_say_how_long_it_is_is_measured(merchant: httpx2.Client) -> None:
    def pieces() -> Iterator[bytes]:
        raw = padded(KIBI64 + 1)
        yield raw[:1000]
        yield raw[1000:]

    refusal(merchant.post(BASE, content=pieces()), 413, "too_large")


@pytest.mark.parametrize("path", [BASE, f"{BASE}/{NOWHERE}/refunds", "/api/v1/api-keys"])
def test_a_large_body_is_refused_on_every_route_after_the_credentials(mall: Mall, merchant: httpx2.Client, path: str) -> None:
    refusal(merchant.post(path, content=b"x" * (KIBI64 + 1)), 413, "too_large")
    refusal(mall.nobody().post(path, content=b"x" * (KIBI64 + 1)), 401, "unauthorized", "Unauthorized")


def test_refused_requests_leave_nothing(mall: Mall) -> None:
    who = mall.merchant(3)
    order_id = an_order()
    before = tokens_used(who)
    for change in ({"amount": 0}, {"price": "1e3"}, {"alias": ""}, {"alias": "bank"}, {"subscription_id": 999}):
        assert ask(who, order_id=order_id, **change).status_code in {400, 422}
    assert tokens_used(who) == before
    assert who.get(BASE, params={"order_id": order_id}).json()["total"] == 0
    assert mall.provider.links(order_id) == []


# Queries and paths


@pytest.mark.parametrize(
    "query",
    ["page=0", "page=-1", "page=x", "page=1.5", "limit=0", "limit=101", "limit=-1", "limit=x", "limit=1e1",
     "cursor=canary-7f3a", "cursor=%00", "cursor=!!!", "cursor=e30", "page=1&cursor=", "cursor=&limit=0", "cursor=&limit=101",
     "status=x", "status=1.5", "created_from=canary-7f3a", "created_to=canary-7f3a"],
)  # fmt: skip
def test_a_query_that_makes_no_sense_is_malformed(merchant: httpx2.Client, query: str) -> None:
    malformed(merchant.get(f"{BASE}?{query}"), CANARY)


@pytest.mark.parametrize(
    "query", ["page=" + "9" * 400, f"page={2**63}", f"page={10**9}&limit=100", "order_id=%00", "provider=%FF", "order_id="]
)
def test_a_strange_query_is_answered_calmly(merchant: httpx2.Client, query: str) -> None:
    assert merchant.get(f"{BASE}?{query}").status_code in {200, 422}


@pytest.mark.parametrize(
    "payment_id", ["x", "0", "1", "019b76da", "%00", "%FF", NOWHERE + "0", NOWHERE[:-1] + "g", NOWHERE, CANARY, "'%20OR%201=1"]
)
@pytest.mark.parametrize("tail", ["", "/show", "/tracking", "/refunds", "/ledger"])
def test_an_id_that_is_none_or_nobodys_is_not_found(merchant: httpx2.Client, payment_id: str, tail: str) -> None:
    answer = merchant.get(f"{BASE}/{payment_id}{tail}")
    assert CANARY not in answer.text
    refusal(answer, 404, "payment_not_found", "Payment not found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", BASE, {"GET", "POST"}),
        ("DELETE", BASE, {"GET", "POST"}),
        ("PATCH", f"{BASE}/{NOWHERE}", {"GET"}),
        ("DELETE", f"{BASE}/{NOWHERE}", {"GET"}),
        ("POST", f"{BASE}/{NOWHERE}/show", {"GET"}),
        ("POST", f"{BASE}/{NOWHERE}/tracking", {"GET"}),
        ("DELETE", f"{BASE}/{NOWHERE}/refunds", {"GET", "POST"}),
        ("POST", f"{BASE}/{NOWHERE}/ledger", {"GET"}),
        ("GET", f"{BASE}/webhook", {"POST"}),
        ("PUT", f"{BASE}/webhook", {"POST"}),
        ("POST", f"{BASE}/ping", {"GET"}),
        ("POST", "/api/v1/merchants/me", {"GET"}),
        ("PUT", "/api/v1/api-keys", {"GET", "POST"}),
        ("PUT", f"/api/v1/api-keys/{NOWHERE}", {"DELETE"}),
    ],
)
def test_a_wrong_verb_is_told_the_right_ones(merchant: httpx2.Client, method: str, path: str, allowed: set[str]) -> None:
    answer = merchant.request(method, path)
    assert answer.status_code == 405, answer.text
    named = {verb.strip() for verb in answer.headers["Allow"].split(",")}
    assert named - {"HEAD", "OPTIONS"} == allowed
    assert set(answer.json()) == {"detail", "code"}


@pytest.mark.parametrize(
    "path", ["/api/v1", "/api/v1/", f"{BASE}/{NOWHERE}/nothing", "/api/v1/nothing", "/api/v1/merchants", "/api/v1/merchants/2"]
)
def test_a_path_that_is_none_is_not_found(merchant: httpx2.Client, path: str) -> None:
    answer = merchant.get(path)
    assert answer.status_code == 404, answer.text
    assert answer.headers["content-type"].split(";")[0] == "application/json"
    assert set(answer.json()) == {"detail", "code"}


@pytest.mark.parametrize("path", [f"{BASE}/", f"{BASE}//", "/api/v1/merchants/me/"])
def test_nobody_is_sent_elsewhere(merchant: httpx2.Client, path: str) -> None:
    answer = merchant.get(path)
    assert answer.status_code not in range(300, 400)
    assert "location" not in answer.headers
