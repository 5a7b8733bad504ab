"""The stand-ins for inventory, orders, products, users and notifications."""

from __future__ import annotations

import asyncio
import re
from decimal import Decimal
from typing import Any

import pytest


async def test_stock_is_taken_once_per_key_and_put_back_once(caller: Any) -> None:
    first = await caller.deduct("chk-1:inventory", {"prod_few": 2, "prod_001": 1})
    assert (first.status, first.json["success"]) == (200, True)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", first.json["timestamp"])
    assert (await caller.deduct("chk-1:inventory", {"prod_few": 2, "prod_001": 1})).raw == first.raw
    assert (await caller.stock("prod_few"))["inventory_stock"] == 3
    for _ in range(2):
        assert (await caller.deduct("chk-1:restock", {"prod_few": 2, "prod_001": 1}, "restock")).status == 200
    assert (await caller.stock("prod_few"))["inventory_stock"] == 5
    book = await caller.book(service="inventory")
    assert len(book["deductions"]) == len(book["restocks"]) == 1
    assert book["deductions"][0]["items"][0] == {"product_id": "prod_001", "quantity": 1}


async def test_all_lines_or_none(caller: Any) -> None:
    answer = await caller.deduct("chk-1:inventory", {"prod_001": 1, "prod_soldout": 1})
    assert (answer.status, answer.json["success"]) == (200, False)
    assert (await caller.stock("prod_001"))["inventory_stock"] == 5000


async def test_an_unknown_product_is_refused(caller: Any) -> None:
    answer = await caller.deduct("chk-1:inventory", {"prod_nobody": 1})
    assert (answer.status, answer.json["success"]) == (422, False)


async def test_the_last_piece_is_sold_once(caller: Any) -> None:
    answers = await asyncio.gather(*(caller.deduct(f"chk-{n}:inventory", {"prod_last": 1}) for n in range(20)))
    assert sum(answer.json["success"] for answer in answers) == 1
    assert (await caller.stock("prod_last"))["inventory_stock"] == 0


async def test_untracked_products_always_suffice(caller: Any) -> None:
    assert (await caller.deduct("chk-1:inventory", {"prod_gift": 999})).json["success"] is True
    assert (await caller.stock("prod_gift"))["inventory_stock"] is None


async def test_an_order_is_made_once_per_key_and_cancelled_once(caller: Any) -> None:
    body = {
        "checkout_id": "chk-1",
        "customer_email": "ann@example.com",
        "shipping_address": {"street": "Rua das Flores", "city": "São Paulo"},
        "items": [{"product_id": "prod_001", "quantity": 2}],
    }
    first = await caller.ask("POST", "/order/orders", body, Idempotency_Key="chk-1:order")
    again = await caller.ask("POST", "/order/orders", body, Idempotency_Key='"chk-1:order"')
    assert first.raw == again.raw
    order_id = first.json["orderId"]
    assert re.fullmatch(r"order_[0-9a-f-]{36}", order_id)
    assert first.json["status"] == "created"
    path, reason = f"/order/orders/{order_id}/cancel", {"reason": "payment returned"}
    statuses = [(await caller.ask("POST", path, reason, Idempotency_Key=key)).status for key in ("c-1", "c-1", "c-2")]
    assert statuses == [200, 200, 409]
    missing = await caller.ask("POST", "/order/orders/order_nobody/cancel", reason, Idempotency_Key="c-3")
    assert missing.status == 404
    book = await caller.book()
    assert len(book["orders"]) == len(book["cancels"]) == 1
    assert "ann@example.com" not in str(book)


async def test_a_price_is_written_exactly(caller: Any) -> None:
    answer = await caller.ask("GET", "/product/api/products/prod_001")
    assert b'"price":99.9,' in answer.raw or b'"price":99.9}' in answer.raw
    assert answer.json["data"] == {
        "id": "prod_001",
        "sku": "prod_001",
        "name": "Wireless Mouse",
        "images": ["https://example.com/prod_001.jpg"],
        "price": Decimal("99.9"),
        "stock": 5000,
    }
    dear = await caller.ask("GET", "/product/api/products/prod_012")
    assert dear.json["data"]["price"] == Decimal("9999999.99")
    untracked = await caller.ask("GET", "/product/api/products/prod_gift")
    assert "stock" not in untracked.json["data"]


async def test_nobody_sells_what_is_unknown(caller: Any) -> None:
    answer = await caller.ask("GET", "/product/api/products/prod_nobody")
    assert (answer.status, answer.json["success"]) == (404, False)


async def test_products_come_in_pages(caller: Any) -> None:
    answer = await caller.ask("GET", "/product/api/products?page=2&limit=10")
    assert answer.json["data"]["pagination"] == {"page": 2, "limit": 10, "total": 17, "pages": 2}
    assert len(answer.json["data"]["products"]) == 7
    assert (await caller.ask("GET", "/product/api/products?page=0")).status == 400


@pytest.mark.parametrize("change", [-5, 3, 0])
async def test_a_stock_change_is_signed_and_done_once(caller: Any, change: int) -> None:
    path = "/product/api/products/prod_few/stock"
    answers = [await caller.ask("PATCH", path, {"quantity": change}, Idempotency_Key="o-1:take") for _ in range(2)]
    assert answers[0].json["data"] == {"id": "prod_few", "sku": "prod_few", "stock": 5 + change}
    assert answers[0].raw == answers[1].raw
    assert (await caller.stock("prod_few"))["product_stock"] == 5 + change
    assert (await caller.stock("prod_few"))["inventory_stock"] == 5


async def test_a_stock_change_below_zero_is_refused_or_clamped(caller: Any) -> None:
    path = "/product/api/products/prod_few/stock"
    assert (await caller.ask("PATCH", path, {"quantity": -6}, Idempotency_Key="o-1:take")).status == 409
    await caller.script("product", "clamp", act="stock")
    clamped = await caller.ask("PATCH", path, {"quantity": -6}, Idempotency_Key="o-2:take")
    assert (clamped.status, clamped.json["data"]["stock"]) == (200, 0)


async def test_a_stock_change_of_nonsense_is_refused(caller: Any) -> None:
    path = "/product/api/products/prod_few/stock"
    for quantity in ("2", 1.5, True, None, 2**63):
        answer = await caller.ask("PATCH", path, {"quantity": quantity})
        assert answer.status == 400
    assert (await caller.ask("PATCH", "/product/api/products/prod_nobody/stock", {"quantity": 1})).status == 404


async def test_a_user_is_known_to_any_bearer_only(caller: Any) -> None:
    answer = await caller.ask("GET", "/user/api/users/7", Authorization="Bearer whatever")
    assert answer.json == {"id": 7, "email": "user7@example.com", "name": "User 7"}
    assert (await caller.ask("GET", "/user/api/users/7")).status == 401
    assert (await caller.ask("GET", "/user/api/users/7", Authorization="Basic x")).status == 401


async def test_a_notification_is_booked_once_per_key(caller: Any) -> None:
    body = {"user_id": 1, "order_id": "ord-1", "type": "order_confirmation"}
    for _ in range(2):
        answer = await caller.ask("POST", "/notification/api/notifications/send", body, Idempotency_Key="o-1:e-1")
        assert answer.status == 200
    (booked,) = (await caller.book())["notifications"]
    assert (booked["user_id"], booked["order_id"], booked["type"]) == (1, "ord-1", "order_confirmation")
    bad = await caller.ask("POST", "/notification/api/notifications/send", {**body, "type": "spam"})
    assert bad.status == 422


async def test_an_unknown_path_or_verb_is_told_and_noted(caller: Any) -> None:
    assert (await caller.ask("POST", "/inventory/deduct", {})).status == 404
    wrong = await caller.ask("GET", "/inventory/inventory/deduct")
    assert (wrong.status, wrong.headers["allow"]) == (405, "POST")
    assert (await caller.ask("GET", "/nobody/at/all")).status == 404
    assert [one["answered"] for one in (await caller.book(service="inventory"))["calls"]] == ["404", "405"]


async def test_neighbours_may_stand_at_the_root_of_their_address(open_sandbox: Any, session: Any) -> None:
    """As the checkout README's mocks do: `PAYMENT_SERVICE_URL=http://localhost:8081`."""
    items = {"items": [{"product_id": "prod_few", "quantity": 2}]}
    async with open_sandbox(at_root=True) as caller:
        async with session.post(
            f"{caller.base}/inventory/deduct", json=items, headers={"Idempotency-Key": "chk-1:inventory"}
        ) as answer:
            assert (answer.status, (await answer.json())["success"]) == (200, True)
        async with session.get(f"{caller.base}/api/products/prod_few") as answer:
            assert (await answer.json())["data"]["sku"] == "prod_few"
        async with session.get(f"{caller.base}/orders") as answer:
            assert answer.status == 404
        assert (await caller.deduct("chk-1:inventory", {"prod_few": 2})).status == 200
        assert len((await caller.book(service="inventory"))["deductions"]) == 1, "one book, whichever address was taken"
    async with (
        open_sandbox() as caller,
        session.post(f"{caller.base}/inventory/deduct", json=items) as answer,
    ):
        assert answer.status == 404
