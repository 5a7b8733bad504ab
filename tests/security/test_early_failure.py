"""F76: a request that failed before its first effect leaves no answer behind that would poison its key.

The database refuses the commit of whatever claims a key: the caller gets a 5xx. When it takes them again the same request under the
same key is a first try, it is done once, and only what comes after it is a repetition. At every operation that takes a key.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest

from .documents import Json, Operation, operations
from .test_object_access import value_of
from .town import ADDRESS, BUYERS, Town, bearer, good, surface_of

KEYED: Final = [each for each in operations() if each.takes_key]
BODIES: Final[dict[str, Any]] = {
    "POST /api/cart/items": {"productId": "prod_003", "quantity": 1},
    "PUT /api/cart/items/{item_id}": {"quantity": 2},
    "POST /api/orders": {"shippingAddress": {**ADDRESS, "street": "A"}, "paymentMethod": "cash_on_delivery"},
    "PUT /api/orders/{order_id}/status": {"status": "cancelled"},
    "POST /cart/items": {"ambassador_id": 4},
    "POST /api/v1/payments/{payment_id}/refunds": {"amount": "0.01"},
    "PATCH /api/v1/webhook-endpoints/{endpoint_id}": {"description": "changed"},
}
SECRETIVE: Final = {
    "POST /api/v1/api-keys",
    "POST /api/v1/webhook-endpoints",
    "POST /api/v1/webhook-endpoints/{endpoint_id}/rotate-secret",
}
"""Their answers hold a secret and are kept nowhere: a repeat is told that there was one."""


@contextmanager
def refusing(town: Town) -> Iterator[None]:
    """Whoever claims a key is let in, and thrown out at the commit."""
    town.server.sql(
        "CREATE FUNCTION pg_temp_no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not today' USING ERRCODE = 'XX000'; END $$"
    )
    town.server.sql(
        "CREATE CONSTRAINT TRIGGER no AFTER INSERT OR UPDATE ON idempotency_keys"
        " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION pg_temp_no()"
    )
    try:
        yield
    finally:
        town.server.sql("DROP TRIGGER no ON idempotency_keys")
        town.server.sql("DROP FUNCTION pg_temp_no()")


@pytest.fixture
def troubled(_settled_town: Town) -> Town:
    """The town, whose log may show what went wrong this time."""
    return _settled_town


def request_of(town: Town, operation: Operation) -> tuple[str, dict[str, str], Any]:
    """Path, credentials and body of a request that will succeed once."""
    side = town.stranger
    values = {place: value_of(operation, place, side) or "prod_001" for place in operation.names() if place[0] == "path"}
    shown = {"X-Api-Key": side.api_key}
    if surface_of(operation) == BUYERS:
        shown = bearer(town.server.token(10**12 + secrets.randbelow(10**12)))
        if operation.path.startswith("/api/"):
            good(town.ask("POST", "/api/cart/items", shown, json={"productId": "prod_004", "quantity": 1}))
            cart = good(town.ask("GET", "/api/cart", shown))["data"]
            values["path", "item_id"] = cart.get("cart", cart)["items"][0]["id"]
        if "{order_id}" in operation.path:
            placed = good(town.ask("POST", "/api/orders", shown, json=BODIES["POST /api/orders"]))["data"]
            values["path", "order_id"] = placed.get("order", placed)["id"]
        if operation.path == "/checkout":
            good(town.ask("POST", "/cart/items", shown, json={"ambassador_id": 1}))
    body = BODIES.get(str(operation), operation.example)
    if isinstance(body, dict) and "order_id" in body:
        body["order_id"] = f"early-{secrets.token_hex(6)}"
    return operation.address(values), shown, body


def rows(town: Town) -> dict[str, int]:
    counted: Json = {}
    for name in ("orders", "payments", "checkouts", "refunds", "api_keys", "endpoints", "ledger_entries", "idempotency_keys"):
        counted[name] = town.server.sql(f"SELECT count(*) AS n FROM {name}")[0]["n"]
    return counted


@pytest.mark.parametrize("operation", KEYED, ids=str)
def test_a_failure_before_the_first_effect_is_no_answer(troubled: Town, operation: Operation) -> None:
    town = troubled
    path, shown, body = request_of(town, operation)
    headers = {**shown, "Idempotency-Key": secrets.token_hex(16)}
    options = {} if body is None else {"json": body}
    before = rows(town)
    with refusing(town):
        for _ in range(2):
            failed = town.ask(operation.method, path, headers, **options)
            assert failed.status_code >= 500, failed.text
            assert "not today" not in failed.text
            assert "Idempotent-Replayed" not in failed.headers
    assert rows(town) == before, "nothing is left of it"
    done = town.ask(operation.method, path, headers, **options)
    assert done.is_success, done.text
    assert "Idempotent-Replayed" not in done.headers
    again = town.ask(operation.method, path, headers, **options)
    if str(operation) in SECRETIVE:
        assert again.status_code == 409
    else:
        assert (again.status_code, again.content) == (done.status_code, done.content)
        assert again.headers["Idempotent-Replayed"] == "true"
