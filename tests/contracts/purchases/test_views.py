"""The README's four tables, as views to read (section 9)."""

from __future__ import annotations

from datetime import datetime

import asyncpg
import pytest

from .journeys import Buyer, Json, Shop

COLUMNS = {
    "carts": {"id", "user_id", "created_at"},
    "cart_items": {"id", "cart_id", "ambassador_id", "created_at"},
    "purchases": {"id", "user_id", "ambassador_id", "price_paid", "created_at", "order_id"},
    "payments": {
        *("id", "transaction_id", "purchase_id", "status", "amount", "payme_transaction_id"),
        *("payme_time", "payme_state", "payme_reason", "created_at", "updated_at"),
    },
}
WRITES = {
    "carts": [
        "DELETE FROM purchases.carts",
        "UPDATE purchases.carts SET user_id = user_id",
        "INSERT INTO purchases.carts DEFAULT VALUES",
    ],
    "cart_items": [
        "DELETE FROM purchases.cart_items",
        "UPDATE purchases.cart_items SET ambassador_id = ambassador_id",
        "INSERT INTO purchases.cart_items DEFAULT VALUES",
    ],
    "purchases": [
        "DELETE FROM purchases.purchases",
        "UPDATE purchases.purchases SET price_paid = price_paid",
        "INSERT INTO purchases.purchases DEFAULT VALUES",
    ],
    "payments": [
        "DELETE FROM purchases.payments",
        "UPDATE purchases.payments SET amount = amount",
        "INSERT INTO purchases.payments DEFAULT VALUES",
    ],
}


def rows(shop: Shop, view: str, **where: object) -> list[Json]:
    """The rows of a view in which these columns read so."""
    conditions = " AND ".join(f"{column}::text = ${at}" for at, column in enumerate(where, start=1))
    return shop.server.sql(f"SELECT * FROM purchases.{view} WHERE {conditions}", *map(str, where.values()))


@pytest.mark.parametrize("view", COLUMNS)
def test_a_view_has_its_columns_and_a_merchant(shop: Shop, view: str) -> None:
    found = shop.server.sql(
        "SELECT column_name FROM information_schema.columns WHERE table_schema = 'purchases' AND table_name = $1", view
    )
    assert {row["column_name"] for row in found} >= COLUMNS[view] | {"merchant_id"}
    [kind] = shop.server.sql("SELECT relkind::text AS kind FROM pg_class WHERE oid = ('purchases.' || $1)::regclass", view)
    assert kind["kind"] == "v"


@pytest.mark.parametrize("view", COLUMNS)
def test_a_view_is_for_reading_only(shop: Shop, view: str) -> None:
    for statement in WRITES[view]:
        with pytest.raises(asyncpg.PostgresError):
            shop.server.sql(
                f"WITH done AS ({statement} RETURNING 1) SELECT count(*) AS n, 1 / (count(*) - count(*)) AS stop FROM done"
            )
        [state] = shop.server.sql("SELECT is_insertable_into, is_updatable FROM information_schema.views WHERE table_schema = 'purchases' AND table_name = $1", view)  # fmt: skip
        assert (state["is_insertable_into"], state["is_updatable"]) == ("NO", "NO"), statement


def test_carts_and_their_items(shop: Shop, buyer: Buyer) -> None:
    one, two = shop.agency.hire(100, 20)
    buyer.add(one, two)
    shown = buyer.cart()
    [cart] = rows(shop, "carts", user_id=buyer.user)
    assert (str(cart["id"]), str(cart["merchant_id"])) == (shown["id"], "1")
    assert cart["created_at"] == datetime.fromisoformat(shown["created_at"])
    items = rows(shop, "cart_items", cart_id=shown["id"])
    assert {(str(row["id"]), int(row["ambassador_id"])) for row in items} == {
        (item["id"], item["ambassador_id"]) for item in shown["items"]
    }
    assert {str(row["merchant_id"]) for row in items} == {"1"}
    buyer.drop(one)
    assert [int(row["ambassador_id"]) for row in rows(shop, "cart_items", cart_id=shown["id"])] == [two]
    shop.payme.pay(buyer.buy())
    assert rows(shop, "cart_items", cart_id=shown["id"]) == []
    assert len(rows(shop, "carts", user_id=buyer.user)) == 1


def test_carts_of_other_contracts_are_not_shown(plain: Shop) -> None:
    buyer = plain.buyer()
    answer = buyer.send("POST", "/api/cart/items", json={"productId": "prod_001", "quantity": 1})
    assert answer.status_code == 201, answer.text
    assert rows(plain, "carts", user_id=buyer.user) == []
    buyer.add(1)
    [cart] = rows(plain, "carts", user_id=buyer.user)
    assert len(rows(plain, "cart_items", cart_id=cart["id"])) == 1


def test_purchases_are_the_rows_of_the_history(shop: Shop, buyer: Buyer) -> None:
    one, two = shop.agency.hire(100, 20)
    purchase = buyer.buy(one, two)
    assert rows(shop, "purchases", user_id=buyer.user) == []
    transaction = shop.payme.pay(purchase)
    found = {str(row["id"]): row for row in rows(shop, "purchases", user_id=buyer.user)}
    shown = {row["id"]: row for row in buyer.purchases()["purchases"]}
    assert set(found) == set(shown)
    for key, row in found.items():
        assert (int(row["ambassador_id"]), row["price_paid"]) == (shown[key]["ambassador_id"], shown[key]["price_paid"])
        assert row["created_at"] == datetime.fromisoformat(shown[key]["created_at"])
        assert (str(row["order_id"]), str(row["merchant_id"])) == (purchase["purchase_id"], "1")
    shop.payme.cancel(transaction, 5)
    assert rows(shop, "purchases", user_id=buyer.user) == []


def test_a_payment_and_its_latest_attempt(shop: Shop, buyer: Buyer) -> None:
    purchase = buyer.buy(*shop.agency.hire(100))
    fresh = shop.payment(purchase)
    assert (str(fresh["id"]), fresh["amount"], fresh["status"]) == (purchase["payment_id"], 100, "pending")
    assert [fresh[name] for name in ("transaction_id", "payme_transaction_id", "payme_state", "payme_reason")] == [None] * 4
    first = shop.payme.create(purchase)
    assert (shop.payment(purchase)["transaction_id"], shop.payment(purchase)["payme_state"]) == (first, 1)
    shop.payme.cancel(first, 3)
    given_up = shop.payment(purchase)
    assert (given_up["payme_state"], given_up["payme_reason"], given_up["status"]) == (-1, 3, "pending")
    began = shop.payme.clock()
    second = shop.payme.pay(purchase)
    paid = shop.payment(purchase)  # one row per checkout
    assert (paid["transaction_id"], paid["payme_transaction_id"]) == (second, second)
    assert (paid["payme_state"], paid["payme_reason"], paid["status"], str(paid["merchant_id"])) == (2, None, "completed", "1")
    assert began <= int(paid["payme_time"]) <= shop.payme.clock()
    assert paid["created_at"] == fresh["created_at"]
    assert paid["updated_at"] > fresh["updated_at"]
    shop.payme.cancel(second, 5)
    returned = shop.payment(purchase)
    assert (returned["payme_state"], returned["payme_reason"], returned["status"]) == (-2, 5, "cancelled")


def test_a_replaced_payment_is_cancelled(shop: Shop, buyer: Buyer) -> None:
    one, two = shop.agency.hire(100, 20)
    older = buyer.buy(one)
    newer = buyer.buy(two)
    assert (shop.status(older), shop.status(newer)) == ("cancelled", "pending")
