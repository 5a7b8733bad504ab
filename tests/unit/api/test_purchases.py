"""The purchases contract at its door: who calls, what is malformed, and how it says no."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from kassa import carts, catalog, checkout
from kassa.api.auth import Tokens
from kassa.api.errors import Unauthorized
from kassa.api.options import TokenRules
from kassa.api.purchases import Brief, shapes, shown
from kassa.carts import Cart, CartLine
from kassa.catalog import Offer
from kassa.checkout.wishes import Placed
from kassa.kit import once
from kassa.kit.database import CommitUnknown, DatabaseAway
from kassa.kit.errors import KassaError
from kassa.kit.ids import new_id
from kassa.kit.money import Money
from kassa.orders import Bought, BoughtPage

from .asking import SECRET, Heard, NoDatabase, an_app, ask, bearer, token
from .test_auth import forged
from .test_shapes import an_order

AT = datetime(2025, 12, 31, 23, 59, 57, 739_000, UTC)
ROUTES = [("GET", "/cart"), ("POST", "/cart/items"), ("DELETE", "/cart/items"), ("POST", "/checkout"), ("GET", "/purchases")]
LARGEST = 9223372036854775807


def app(db: Any = None, **options: Any) -> Any:
    return an_app(db, surfaces=frozenset({"purchases"}), **options)


async def add(body: bytes, headers: dict[str, str] | None = None, method: str = "POST", query: str = "") -> Heard:
    return await ask(app(), method, f"/cart/items{query}", bearer() if headers is None else headers, body)


# Who calls


def why(*authorization: str) -> str:
    with pytest.raises(Unauthorized) as refused:
        Tokens(TokenRules(SECRET)).caller(authorization)
    return refused.value.why


@pytest.mark.parametrize("shown", [(), ("",), ("Bearer",), ("Bearer ",), ("Basic eDp5",), (f"Basic {token()}",), (token(),)])
def test_without_a_bearer_nobody_is_authenticated(shown: tuple[str, ...]) -> None:
    assert why(*shown) == "Not authenticated"


def test_a_token_that_is_over_is_told_so_and_only_if_it_is_ours() -> None:
    over = {"id": 1, "exp": int(time.time()) - 1}
    assert why(f"Bearer {forged(over)}") == "Token has expired"
    assert why(f"Bearer {forged(over, secret=b'x' * 40)}").startswith("Invalid token: ")


@pytest.mark.parametrize(
    ("token_shown", "reason"),
    [
        ("garbage", "it is not a signed JWT"),
        (forged({"id": 1, "exp": 4102444800}, {"alg": "none"}), "its signature is not accepted"),
        (forged({"id": 1, "exp": 4102444800}).rpartition(".")[0] + ".", "it is not a signed JWT"),
        (forged({"id": 1, "exp": 4102444800}, secret=b"x" * 40), "its signature is not accepted"),
        (forged({"id": 1, "exp": 4102444800}, {"alg": "HS512"}), "its signature is not accepted"),
        (forged({"id": 1}), "exp is required"),
        (forged({"exp": 4102444800}), "it names no user"),
        (forged({"id": "", "exp": 4102444800}), "it names no user"),
        (forged({"id": 1, "exp": 4102444800, "nbf": 4102444700}), "it is not valid yet"),
        ("x" * 9000, "it is too long"),
    ],
)
def test_a_token_that_is_no_good_is_told_why_and_never_repeated(token_shown: str, reason: str) -> None:
    assert why(f"Bearer {token_shown}") == f"Invalid token: {reason}"


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_who_calls_is_judged_before_anything_else(method: str, path: str) -> None:
    heard = await ask(app(), method, path, {"Idempotency-Key": "short", "Authorization": "Bearer x"}, b"{" * 100_000)
    assert (heard.status, heard.header("www-authenticate")) == (401, "Bearer")
    assert heard.json == {"detail": "Invalid token: it is not a signed JWT", "code": "unauthorized"}
    assert (await ask(app(), method, path)).json == {"detail": "Not authenticated", "code": "unauthorized"}


# Addresses


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/cart", "GET"),
        ("HEAD", "/cart", "GET"),
        ("PUT", "/cart/items", "DELETE, POST"),
        ("GET", "/cart/items", "DELETE, POST"),
        ("GET", "/checkout", "POST"),
        ("DELETE", "/purchases", "GET"),
    ],
)
async def test_another_verb_is_told_which_there_are(method: str, path: str, allow: str) -> None:
    heard = await ask(app(), method, path)
    assert (heard.status, heard.header("allow"), heard.json["code"]) == (405, allow, "method_not_allowed")


@pytest.mark.parametrize("path", ["/cart/", "/cart/items/", "/cart/items/1", "/purchases/1"])
async def test_there_is_nothing_beside_it(path: str) -> None:
    heard = await ask(app(), "GET", path, bearer())
    assert (heard.status, heard.json["code"]) == (404, "not_found")


async def test_both_contracts_share_a_word_and_not_their_words() -> None:
    both = an_app(surfaces=frozenset({"checkout", "purchases"}))
    assert (await ask(both, "POST", "/checkout")).json["code"] == "unauthorized"
    assert (await ask(both, "POST", "/checkout/process", bearer(), b"{")).json["detail"][0]["type"] == "json_invalid"


# Bodies


@pytest.mark.parametrize("method", ["POST", "DELETE"])
@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b"1", b'"x"', b"null", b" ", b"\xff", b'{"ambassador_id": NaN}', b'{"ambassador_id": 1, "x": "\xe9"}',
     b'{"ambassador_id": 1, "ambassador_id": 2}', b'{"ambassador_id": 1} {}', b"[" * 100_0],
)  # fmt: skip
async def test_a_body_that_is_no_object_is_malformed(method: str, body: bytes) -> None:
    heard = await add(body, method=method)
    assert (heard.status, heard.json) == (422, {"detail": "The body is not a JSON object.", "code": "invalid_body"})


async def test_an_empty_body_is_none() -> None:
    assert (await add(b"")).json == {"detail": "The body is not a JSON object.", "code": "invalid_body"}
    heard = await add(b"", method="DELETE")
    assert (heard.status, heard.json["code"]) == (422, "invalid_body")
    assert heard.json["errors"] == [{"field": "ambassador_id", "message": "is required"}]


@pytest.mark.parametrize("method", ["POST", "DELETE"])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "is required"),
        ("null", "must be a whole number"),
        ('"1"', "must be a whole number"),
        ("1.0", "must be a whole number"),
        ("1e0", "must be a whole number"),
        ("true", "must be a whole number"),
        ("[1]", "must be a whole number"),
        ("{}", "must be a whole number"),
        ("0", "must be 1 or more"),
        ("-1", "must be 1 or more"),
        (str(2**63), f"must be {LARGEST} or less"),
        ("9" * 30, f"must be {LARGEST} or less"),
        ("9" * 5000, "must be a whole number"),
    ],
)
async def test_an_ambassador_is_a_whole_number(method: str, given: str | None, message: str) -> None:
    heard = await add(b"{}" if given is None else b'{"ambassador_id": %s}' % given.encode(), method=method)
    assert heard.status == 422
    assert heard.json == {
        "detail": "The request has members that are missing or wrong.",
        "code": "invalid_body",
        "errors": [{"field": "ambassador_id", "message": message}],
    }


@pytest.mark.parametrize("given", ["", "0", "-1", "1.0", "x", "%201", "1%20", str(2**63), "9" * 19, "٣", "1&ambassador_id=2"])
async def test_an_ambassador_in_a_query_is_a_whole_number_too(given: str) -> None:
    heard = await add(b"", method="DELETE", query=f"?ambassador_id={given}")
    assert (heard.status, heard.json["code"], len(heard.json["errors"])) == (422, "invalid_body", 1)


@pytest.mark.parametrize(
    "query",
    ["page=0", "page=x", "page=", "page=-1", "page=1.0", "page=2147483648", "limit=0", "limit=101", "limit=x", "page=1&page=1"],
)
async def test_a_page_that_is_none_is_malformed(query: str) -> None:
    heard = await ask(app(), "GET", f"/purchases?{query}", bearer())
    assert (heard.status, heard.json["code"]) == (422, "invalid_body")


@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_a_body_of_more_than_64_kib_is_too_large(method: str) -> None:
    heard = await ask(app(), method, "/cart/items", bearer(), [b'{"ambassador_id": 1, "x": "' + b"x" * 65_536, b'"}'])
    assert (heard.status, heard.json["code"]) == (413, "too_large")


@pytest.mark.parametrize(("method", "path"), [("POST", "/cart/items"), ("POST", "/checkout")])
@pytest.mark.parametrize("key", ["short", "x" * 256, "with blank", ""])
async def test_a_key_that_is_none_is_refused(method: str, path: str, key: str) -> None:
    heard = await ask(app(), method, path, {**bearer(), "Idempotency-Key": key}, b'{"ambassador_id": 1}')
    assert (heard.status, heard.json["code"]) == (400, "idempotency_key_invalid")


# When things are away


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_without_a_database_it_is_unavailable(method: str, path: str) -> None:
    heard = await ask(app(), method, path, bearer(), b'{"ambassador_id": 1}')
    assert (heard.status, heard.json["code"], heard.header("retry-after")) == (503, "unavailable", "2")


async def test_what_nobody_foresaw_says_no_more_than_that() -> None:
    heard = await ask(app(NoDatabase(RuntimeError("card 4111"))), "GET", "/purchases", bearer())
    assert (heard.status, set(heard.json), heard.json["code"]) == (500, {"detail", "code"}, "internal_error")
    assert b"4111" not in heard.body


async def test_too_many_requests_are_told_when_to_come_back() -> None:
    limited = app(rate_limit="1/hour")
    await ask(limited, "GET", "/purchases", bearer())
    heard = await ask(limited, "GET", "/purchases", bearer())
    assert (heard.status, heard.json["code"]) == (429, "rate_limited")
    assert int(heard.header("retry-after") or "0") >= 1


class AmbassadorsAway(catalog.ProductsUnavailable):
    """However it is called."""

    code = "another_word"
    retry_after = 7


@pytest.mark.parametrize(
    ("error", "status", "content"),
    [
        (catalog.UnknownProduct(), 404, {"detail": "Ambassador not found", "code": "ambassador_not_found"}),
        (carts.LineMissing(), 404, {"code": "not_in_cart"}),
        (carts.CartFull(), 409, {"code": "cart_full"}),
        (checkout.CartEmpty(), 400, {"code": "cart_empty"}),
        (checkout.AmbassadorsInvalid(invalid_ids=[9, 7]), 409, {"code": "ambassadors_invalid", "invalid_ids": [7, 9]}),
        (AmbassadorsAway(), 503, {"code": "ambassadors_unavailable"}),
        (DatabaseAway(), 503, {"code": "unavailable"}),
        (CommitUnknown(), 503, {"code": "unavailable"}),
        (once.InvalidKey(), 400, {"code": "idempotency_key_invalid"}),
        (once.InProgress(), 409, {"code": "in_progress"}),
        (once.KeyReused(), 422, {"code": "idempotency_key_reused"}),
    ],
)
def test_every_no_has_its_status_and_its_word(error: KassaError, status: int, content: dict[str, Any]) -> None:
    answer = Brief().refuse(error)
    told = json.loads(answer.body)
    assert (answer.status, {**told, **content}) == (status, told)
    assert list(told)[:2] == ["detail", "code"]
    assert set(told) == {"detail", "code", *content}
    shown.PurchasesError.model_validate(told)
    if status == 503:
        assert int(dict(answer.headers)[b"retry-after"]) >= 1


def test_the_pause_of_the_source_is_passed_on() -> None:
    assert dict(Brief().refuse(AmbassadorsAway()).headers) == {b"retry-after": b"7"}


# Shapes


def offer(ambassador_id: int, price: int) -> Offer:
    return Offer(str(ambassador_id), "sku", f"Ambassador {ambassador_id}", Money(price, "UZS"), (), None, "elsewhere")


def a_cart(*ambassadors: int, buyer: str = "42") -> Cart:
    lines = [CartLine(new_id(), str(each), 1, 1, "as seen", None, AT) for each in ambassadors]
    return Cart("1", new_id(), "ambassadors", buyer, 3, AT, AT, lines)


def test_a_cart_shows_what_is_sold_and_names_the_rest() -> None:
    found = a_cart(11, 3, LARGEST, 9, 2)
    told = shapes.whole_cart(found, {"3": offer(3, 500), "2": offer(2, 7)})
    assert list(told) == ["id", "user_id", "items", "total", "invalid_ids", "created_at"]
    assert [(each["ambassador_id"], each["price"]) for each in told["items"]] == [(3, 500), (2, 7)]
    assert (told["total"], told["invalid_ids"], told["user_id"]) == (507, [9, 11, LARGEST], 42)
    assert told["created_at"] == "2025-12-31T23:59:57.739000Z"
    assert told["items"][0] == {
        "id": str(found.lines[1].line_id),
        "ambassador_id": 3,
        "price": 500,
        "created_at": "2025-12-31T23:59:57.739000Z",
    }
    shown.AmbassadorCart.model_validate_json(json.dumps(told))


def test_an_empty_cart_has_all_its_members() -> None:
    told = shapes.whole_cart(a_cart(buyer="007"), {})
    assert (told["items"], told["total"], told["invalid_ids"], told["user_id"]) == ([], 0, [], "007")


def test_a_purchase_is_written_from_its_order_alone() -> None:
    order = an_order(channel="ambassadors", total_minor=7_500_000, payment_url="https://test.paycom.uz/bT0=")
    status, body = shapes.started(Placed(order, created=True))
    assert (status, body) == shapes.started(Placed(order, created=False))
    assert (status, json.loads(body)) == (
        201,
        {
            "purchase_id": str(order.order_id),
            "payment_id": str(order.payment_id),
            "amount": 7_500_000,
            "payment_url": "https://test.paycom.uz/bT0=",
        },
    )
    shown.PurchaseStarted.model_validate_json(body)


def test_a_history_shows_what_was_paid() -> None:
    row = Bought(new_id(), "4", "42", 2_500_000, AT)
    told = shapes.history(BoughtPage([row], 7))
    assert told == {
        "purchases": [
            {
                "id": str(row.line_id),
                "user_id": 42,
                "ambassador_id": 4,
                "price_paid": 2_500_000,
                "created_at": "2025-12-31T23:59:57.739000Z",
            }
        ],
        "total": 7,
    }
    shown.PurchasePage.model_validate_json(json.dumps(told))
