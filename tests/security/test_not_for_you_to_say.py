"""F68 and F69: what is not a caller's to say is refused, or has no effect, in every object of every request of every document.

The members are the ones that an attacker would try: prices, totals, states, owners. Where a document closes an object the request is
refused; where it does not, the answer and the tables are what they would be without the member.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
from tests import rig
from tests.contracts.grpc.callers import Caller, an_order, request_of

from .documents import Json, Operation, operations
from .test_object_access import value_of
from .town import BUYERS, MERCHANTS, PAYME_DOOR, PROVIDERS, SETTINGS, Side, Town, basic, bearer, good, surface_of

EVIL: Final[dict[str, Any]] = {
    "price": "0.01",
    "unit_price": 1,
    "unitPrice": 1,
    "total": "0.01",
    "totalAmount": 1,
    "total_amount": 1,
    "amount_minor": 1,
    "captured": "999999.00",
    "captured_minor": 1,
    "discount": 100,
    "status": "paid",
    "payment_status": "paid",
    "paymentStatus": "paid",
    "state": "completed",
    "user_id": 1,
    "userId": 1,
    "buyer_id": "1",
    "owner": "1",
    "merchant_id": 1,
    "merchantId": "1",
    "role": "admin",
    "is_staff": True,
    "scopes_granted": ["keys:manage"],
    "secret": "whsec_" + "A" * 43 + "=",
    "id": "019b76da-a801-7d90-a2b6-4c7f1e3d5b62",
    "payment_id": "019b76da-a801-7d90-a2b6-4c7f1e3d5b62",
    "orderNumber": "ORD-20260101-AAAAAAAA",
    "currency": "USD",
    "created_at": "2001-01-01T00:00:00Z",
    "simulated": True,
    "__proto__": {"role": "admin"},
    "constructor": {"prototype": {"role": "admin"}},
    "$where": "1",
}
WITH_BODY: Final = [each for each in operations() if each.content]


def at(body: Any, way: str) -> Iterator[Json]:
    """The objects in a body to which a way leads; `[]` is every element of a list."""
    steps = [step for step in way.replace("[]", ".[]").split(".") if step]
    found = [body]
    for step in steps:
        found = [each for one in found for each in (one if step == "[]" else [one[step]] if step in one else [])]
    yield from (each for each in found if isinstance(each, dict))


def shown_at(town: Town, operation: Operation, side: Side) -> dict[str, str]:
    surface = surface_of(operation)
    if surface == PAYME_DOOR:
        return basic(side.payme_key)
    return {BUYERS: bearer(town.token(side)), MERCHANTS: {"X-Api-Key": side.api_key}, PROVIDERS: {}}[surface]


def fresh(body: Any) -> Any:
    """The body for a reference that nobody used."""
    if isinstance(body, dict) and "order_id" in body:
        body["order_id"] = f"fresh-{secrets.token_hex(8)}"
    return body


def send(town: Town, operation: Operation, body: Any) -> httpx2.Response:
    side = town.stranger
    path = operation.address(
        {place: value_of(operation, place, side) or "prod_001" for place in operation.names() if place[0] == "path"}
    )
    headers = {**shown_at(town, operation, side), **({"Idempotency-Key": secrets.token_hex(16)} if operation.takes_key else {})}
    return town.ask(operation.method, path, headers, json=body)


@pytest.mark.parametrize("operation", [each for each in WITH_BODY if any(each.objects().values())], ids=str)
def test_a_closed_object_takes_nothing_more(town: Town, operation: Operation) -> None:
    tried = 0
    for way, closed in operation.objects().items():
        known = {name.rpartition(".")[2] for name in operation.members() if name.rpartition(".")[0] == way}
        for name, value in EVIL.items():
            body = fresh(operation.example)
            targets = list(at(body, way))
            if not closed or name in known or not targets:
                continue
            targets[0][name] = value
            answer = send(town, operation, body)
            assert answer.status_code == 422, (way, name, answer.text)
            assert json.dumps(value)[:24] not in answer.text or len(json.dumps(value)) < 5
            tried += 1
    assert tried, "the example of this operation has none of its objects"


OPEN: Final = [
    each
    for each in WITH_BODY
    if not all(each.objects().values()) and surface_of(each) in {BUYERS, MERCHANTS} and each.method in {"POST", "PATCH", "DELETE"}
]


@pytest.mark.parametrize("operation", OPEN, ids=str)
def test_an_open_object_takes_no_notice(town: Town, operation: Operation) -> None:
    """All of them at once at the top: the same status, and an answer of the same members and the same values but for new ids."""
    if not operation.objects()[""]:
        plain, evil = fresh(operation.example), fresh(operation.example)
        known = set(operation.members())
        evil |= {name: value for name, value in EVIL.items() if name not in known}
        without, with_more = send(town, operation, plain), send(town, operation, evil)
        repeated = operation.path == "/cart/items" or operation.path.endswith("/refunds")
        assert with_more.status_code == without.status_code or (repeated and with_more.status_code < 500), with_more.text
        if without.content and with_more.content and without.status_code == with_more.status_code:
            one, other = without.json(), with_more.json()
            assert one.keys() == other.keys()
            same = {"status", "amount", "currency", "price", "merchant_id", "scopes", "url", "events", "format", "user_id"}
            assert {name: one[name] for name in same & one.keys()} == {name: other[name] for name in same & other.keys()}
    else:
        for way in (way for way, closed in operation.objects().items() if not closed):
            body = fresh(operation.example)
            for target in at(body, way):
                target |= {name: value for name, value in EVIL.items() if isinstance(value, str) and name not in target}
            assert send(town, operation, body).status_code < 500


def test_a_purchase_costs_what_the_server_says(town: Town) -> None:
    """Whatever stands in the address, in the details of payment and in the idempotency key: the total is that of the shelf."""
    me = bearer(town.server.token(10**12 + secrets.randbelow(10**12)))
    good(town.ask("POST", "/api/cart/items", me, json={"productId": "prod_002", "quantity": 2}))
    address = {
        "street": "A",
        "city": "B",
        "state": "C",
        "postalCode": "1",
        "country": "IN",
        "total": "1",
        "price": "0.01",
        "userId": "1",
    }
    details = {"amount": 1, "total": 1, "status": "paid", "currency": "USD", "userId": "1", "price": 1}
    order = {"shippingAddress": address, "paymentMethod": "cash_on_delivery", "paymentDetails": details}
    placed = good(town.ask("POST", "/api/orders", me, json=order))["data"]
    found = placed.get("order", placed)
    row = town.server.sql(
        "SELECT status, total_minor, currency, buyer_id FROM orders WHERE order_id = $1::text::uuid", found["id"]
    )[0]
    assert (row["total_minor"], row["currency"]) == (29_980, "INR")
    assert row["buyer_id"] != "1"


def test_extra_fields_over_grpc_are_no_part_of_it(town: Town) -> None:
    """Unknown fields of a message are ignored: the payment is the caller's, pending, and of its own amount."""
    order = an_order()
    extra = b"".join(bytes([number << 3 | 2, 1, 49]) for number in (6, 7, 8, 9, 10, 11)) + bytes([12 << 3, 2])
    caller = Caller(town.server.grpc, [("x-api-key", town.stranger.api_key)])
    try:
        answer = caller.ask("RequestPayment", request_of(order).SerializeToString() + extra)
        again = caller.ask("RequestPayment", request_of(order))
    finally:
        caller.close()
    assert again.replayed == "true"
    rows = town.server.sql(
        "SELECT merchant_id, amount_minor, currency FROM payments WHERE payment_id = $1::text::uuid", answer.payment_id
    )
    assert [(row["merchant_id"], row["amount_minor"], row["currency"]) for row in rows] == [
        (town.stranger.merchant_id, 1250, "USD")
    ]


# F69: X-Merchant-Id

MERCHANT_SIDE: Final = [each for each in operations() if surface_of(each) == MERCHANTS]
SPOOFS: Final[dict[str, Callable[[Side, Side], list[tuple[str, str]]]]] = {
    "alone": lambda owner, _: [("X-Merchant-Id", owner.merchant_id)],
    "in small letters": lambda owner, _: [("x-merchant-id", owner.merchant_id)],
    "with underscores": lambda owner, _: [("X_Merchant_Id", owner.merchant_id)],
    "with the house": lambda *_: [("X-Merchant-Id", "1")],
    "twice": lambda owner, _: [("X-Merchant-Id", owner.merchant_id), ("X-Merchant-Id", owner.merchant_id)],
    "forwarded": lambda owner, _: [("X-Forwarded-Merchant-Id", owner.merchant_id), ("X-Original-Merchant-Id", owner.merchant_id)],
    "beside a token": lambda owner, _: [("X-Merchant-Id", owner.merchant_id), ("Authorization", "Bearer a.b.c")],
    "beside a bad key": lambda owner, _: [("X-Merchant-Id", owner.merchant_id), ("X-Api-Key", "sk_" + "A" * 43)],
    "beside an empty key": lambda owner, _: [("X-Merchant-Id", owner.merchant_id), ("X-Api-Key", "")],
}


@pytest.mark.parametrize("operation", MERCHANT_SIDE, ids=str)
def test_a_header_that_nobody_trusts_names_nobody(town: Town, operation: Operation) -> None:
    path = operation.address(
        {place: value_of(operation, place, town.owner) or "x" for place in operation.names() if place[0] == "path"}
    )
    for name, spoof in SPOOFS.items():
        answer = town.http.request(operation.method, path, headers=spoof(town.owner, town.stranger), json=operation.example)
        assert answer.status_code == 401, (name, answer.text)
        assert town.owner.canary not in answer.text


@pytest.mark.parametrize("operation", MERCHANT_SIDE, ids=str)
def test_a_header_beside_a_key_names_nobody_else(town: Town, operation: Operation) -> None:
    path = operation.address(
        {place: value_of(operation, place, town.owner) or "x" for place in operation.names() if place[0] == "path"}
    )
    for named in (town.owner.merchant_id, "1", "0", "", f"{town.stranger.merchant_id},1"):
        headers = {"X-Api-Key": town.stranger.api_key, "X-Merchant-Id": named}
        answer = town.http.request(operation.method, path, headers=headers, json=operation.example)
        assert answer.status_code in {401, 403}, (named, answer.text)
        assert town.owner.canary not in answer.text


@pytest.fixture(scope="module")
def gateway(_settled_town: Town, _homes: Callable[[str], Path]) -> Iterator[Town]:
    """A second process on the same data, behind a gateway whose header it trusts."""
    town = _settled_town
    server = rig.make_server(_homes("gateway"), town.server.dsn, {**SETTINGS, "TRUST_MERCHANT_HEADER": "true"})
    with rig.stopping([server]):
        server.start()
        yield Town(server, town.sink, town.owner, town.stranger)


def test_behind_a_gateway_a_merchant_is_who_the_gateway_says_and_nobody_else(gateway: Town) -> None:
    owner, stranger = gateway.owner, gateway.stranger
    for path in (
        f"/api/v1/payments/{owner.ids['path', 'payment_id']}",
        f"/api/v1/webhook-endpoints/{owner.ids['path', 'endpoint_id']}",
    ):
        assert gateway.ask("GET", path, {"X-Merchant-Id": owner.merchant_id}).status_code == 200
        for headers in ({"X-Merchant-Id": stranger.merchant_id}, {"X-Api-Key": stranger.api_key}):
            assert gateway.ask("GET", path, headers).status_code == 404
        assert gateway.ask("GET", path, {"X-Api-Key": stranger.api_key, "X-Merchant-Id": owner.merchant_id}).status_code == 403
        for odd in (
            "",
            "0",
            f"0{owner.merchant_id}",
            f"+{owner.merchant_id}",
            f"{owner.merchant_id}.0",
            "*",
            "%",
            "1 OR 1=1",
            "\u0661",
        ):
            answer = gateway.http.get(path, headers=[(b"X-Merchant-Id", odd.encode())])
            assert answer.status_code == 401, (odd, answer.text)


def test_behind_a_gateway_what_is_public_shows_nothing_private(gateway: Town) -> None:
    """`show` and `tracking` are for everybody who has the id: no secret of the merchant and nothing of a card may be in them."""
    for act in ("show", "tracking"):
        answer = gateway.ask("GET", f"/api/v1/payments/{gateway.owner.ids['path', 'payment_id']}/{act}")
        assert answer.status_code == 200
        for private in (
            gateway.owner.api_key,
            gateway.owner.payme_key,
            gateway.owner.more["endpoint secret"],
            "fingerprint",
            "whsec_",
        ):
            assert private not in answer.text
    for path in (
        "/api/v1/payments",
        "/api/v1/api-keys",
        "/api/v1/events",
        f"/api/v1/payments/{gateway.owner.ids['path', 'payment_id']}",
    ):
        assert gateway.ask("GET", path).status_code == 401


def test_a_trusted_name_makes_no_keys(gateway: Town) -> None:
    headers = {"X-Merchant-Id": gateway.owner.merchant_id}
    body = {"name": "x", "scopes": ["payments:read"]}
    assert gateway.ask("POST", "/api/v1/api-keys", headers, json=body).status_code == 403
    assert gateway.ask("GET", "/api/v1/api-keys", headers).status_code == 403
    assert gateway.ask("DELETE", f"/api/v1/api-keys/{gateway.owner.ids['path', 'key_id']}", headers).status_code == 403
