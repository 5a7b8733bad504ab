"""What buyers and staff do over HTTP, and how an answer of the orders contract is read.

Nothing here knows how Kassa is made: only its address, its tokens and its public routes.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol, TypeVar

import httpx2
from tests.rig import Server

Json = dict[str, Any]
T = TypeVar("T")

IPHONE = "507f1f77bcf86cd799439012"
MUMBAI: Json = {
    "street": "123 Main St",
    "city": "Mumbai",
    "state": "Maharashtra",
    "postalCode": "400001",
    "country": "India",
}
DECLINED_CARD = "4000000000000002"

UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")

ITEM_MEMBERS = {"id", "productId", "productName", "price", "quantity", "totalPrice", "image"}
CART_MEMBERS = {
    *("id", "userId", "version", "currency", "items", "totalItems", "totalAmount", "problems"),
}
LINE_MEMBERS = {"productId", "productName", "price", "quantity", "totalPrice"}
ORDER_MEMBERS = {
    *("id", "userId", "status", "totalAmount", "items", "shippingAddress", "paymentMethod"),
    *("createdAt", "estimatedDelivery", "orderNumber", "currency", "paymentStatus", "paymentId"),
    *("paymentUrl", "trackingNumber", "carrier", "updatedAt"),
}
DETAILED = {
    *("invalid_input", "stock_insufficient", "price_changed", "cart_changed"),
    *("cart_already_ordered", "illegal_move"),
}


class SignIn(Protocol):
    """Give a signed-in client: a buyer nobody has seen before, unless told otherwise."""

    def __call__(self, user: int | str | None = None, role: str | None = None, **claims: Any) -> httpx2.Client: ...


@dataclass(frozen=True)
class Fresh:
    """A Kassa of our own: its server, and its products as they were before the first sale."""

    server: Server
    opening: list[Json]


def anybody() -> int:
    """An id that no other test uses."""
    return 10**9 + secrets.randbelow(10**14)


def a_key() -> str:
    return f"key-{secrets.token_hex(12)}"


@contextmanager
def visitors(server: Server) -> Iterator[Callable[[str | None], httpx2.Client]]:
    """Open clients for tokens (or for nobody) and close them all at the end."""
    with ExitStack() as open_clients:

        def visit(token: str | None) -> httpx2.Client:
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            client = httpx2.Client(base_url=server.url, headers=headers, timeout=15, verify=False, trust_env=False)
            return open_clients.enter_context(client)

        yield visit


@contextmanager
def people(server: Server) -> Iterator[SignIn]:
    with visitors(server) as visit:

        def sign_in(user: int | str | None = None, role: str | None = None, **claims: Any) -> httpx2.Client:
            return visit(server.token(anybody() if user is None else user, role, **claims))

        yield sign_in


# Reading answers


def success(response: httpx2.Response, status: int = 200) -> Json:
    """The data of a success, after looking at its envelope."""
    assert response.status_code == status, response.text
    body: Json = json.loads(response.content, parse_float=Decimal)
    assert set(body) == {"success", "message", "data"}
    assert body["success"] is True
    assert isinstance(body["message"], str)
    assert body["message"].strip()
    data: Json = body["data"]
    return data


def refusal(response: httpx2.Response, status: int, code: str) -> Json:
    """The details of a refusal, after looking at its envelope."""
    assert response.status_code == status, response.text
    body: Json = json.loads(response.content, parse_float=Decimal)
    assert set(body) == {"success", "message", "error"}
    assert body["success"] is False
    assert isinstance(body["message"], str)
    assert body["message"].strip()
    error: Json = body["error"]
    assert error["code"] == code, error
    assert set(error) == ({"code", "details"} if code in DETAILED else {"code"})
    details: Json = error.get("details", {})
    if code == "invalid_input":
        assert set(details) == {"fields"}
        assert details["fields"]
        assert all(set(field) == {"path", "problem"} for field in details["fields"])
    return details


def invalid(response: httpx2.Response, path: str | None = None) -> list[str]:
    """The paths that a 422 `invalid_input` complains about."""
    paths = [field["path"] for field in refusal(response, 422, "invalid_input")["fields"]]
    if path is not None:
        assert path in paths
    return paths


def written(response: httpx2.Response, member: str) -> list[str]:
    """How the numbers of a member stand in the raw bytes."""
    return re.findall(rf'"{member}"\s*:\s*([^,\s}}\]]+)', response.content.decode())


def eventually(question: Callable[[], T], within: float = 4.0) -> T:
    """Ask until the answer is truthy; the last answer when time is over."""
    end = time.monotonic() + within
    while not (answer := question()) and time.monotonic() < end:
        time.sleep(0.03)
    return answer


# Acts


def add(who: httpx2.Client, product: str = "prod_001", quantity: int = 1) -> Json:
    body = {"productId": product, "quantity": quantity}
    return success(who.post("/api/cart/items", json=body), 201)


def look(who: httpx2.Client) -> Json:
    """The buyer's cart."""
    return success(who.get("/api/cart"))


def quantities(who: httpx2.Client) -> dict[str, int]:
    return {item["productId"]: item["quantity"] for item in look(who)["items"]}


def wish(**changes: object) -> Json:
    """A complete body for `POST /api/orders`; a change to None leaves the member out."""
    body = {"shippingAddress": MUMBAI, "paymentMethod": "credit_card", **changes}
    return {name: value for name, value in body.items() if value is not None}


def place(who: httpx2.Client, **changes: object) -> Json:
    return success(who.post("/api/orders", json=wish(**changes)), 201)


def buy(who: httpx2.Client, product: str = "prod_001", quantity: int = 1, **changes: object) -> Json:
    add(who, product, quantity)
    return place(who, **changes)


def read(who: httpx2.Client, order_id: str) -> Json:
    return success(who.get(f"/api/orders/{order_id}"))


def orders_of(who: httpx2.Client, **query: str | int) -> Json:
    return success(who.get("/api/orders", params=query))


def track(who: httpx2.Client, order_id: str) -> Json:
    return success(who.get(f"/api/orders/{order_id}/tracking"))


def move(who: httpx2.Client, order_id: str, status: str, **more: object) -> httpx2.Response:
    return who.put(f"/api/orders/{order_id}/status", json={"status": status, **more})


def moved(who: httpx2.Client, order_id: str, status: str, **more: object) -> Json:
    return success(move(who, order_id, status, **more))


def wait_for(who: httpx2.Client, order_id: str, status: str, payment: str | None = None, within: float = 4.0) -> Json:
    """The order once it has this status (and payment status)."""

    def arrived() -> bool:
        seen.update(read(who, order_id))
        return seen["status"] == status and payment in {None, seen["paymentStatus"]}

    seen: Json = {}
    assert eventually(arrived, within), (seen["status"], seen["paymentStatus"])
    return seen


def buy_paid(who: httpx2.Client, product: str = "prod_001", quantity: int = 1) -> Json:
    return wait_for(who, buy(who, product, quantity)["id"], "paid", "paid")


def buy_waiting(who: httpx2.Client, product: str = "prod_001", quantity: int = 1) -> Json:
    """An order that stays pending, because the buyer has not used the link yet."""
    return buy(who, product, quantity, paymentMethod="link:stripe")


def buy_for_cash(who: httpx2.Client, product: str = "prod_001", quantity: int = 1) -> Json:
    order = buy(who, product, quantity, paymentMethod="cash_on_delivery")
    return wait_for(who, order["id"], "processing", "pending")


def stock(who: httpx2.Client, product: str) -> int:
    """What can be bought now."""
    level = success(who.get(f"/api/products/{product}"))["stock"]
    assert isinstance(level, int)
    return level


def books(server: Server, order: Json) -> tuple[Decimal, Decimal, int]:
    """What the books say of an order's payment: captured, refunded, and in how many refunds."""
    [row] = server.sql(
        """
        SELECT p.captured_minor, p.refunded_minor, (SELECT count(*) FROM refunds r WHERE r.payment_id = p.payment_id) AS refunds
          FROM payments p WHERE p.payment_id = $1::text::uuid
        """,
        order["paymentId"],
    )
    return Decimal(row["captured_minor"]) / 100, Decimal(row["refunded_minor"]) / 100, row["refunds"]
