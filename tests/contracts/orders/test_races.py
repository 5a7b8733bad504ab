"""Many at once: nobody is charged for what is not there, and nobody gets a second order."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from decimal import Decimal
from itertools import cycle

import httpx2
import pytest
from tests.rig import Server

from .journeys import (
    Fresh,
    SignIn,
    a_key,
    add,
    anybody,
    books,
    buy_waiting,
    eventually,
    look,
    orders_of,
    place,
    quantities,
    refusal,
    stock,
    success,
    wait_for,
    wish,
)

Buyer = httpx2.AsyncClient
Act = Callable[[Buyer], Awaitable[httpx2.Response]]


async def crowd(server: Server, users: list[int], *acts: Act) -> list[list[httpx2.Response]]:
    """Let all users do each act at the same moment, one act after the other."""
    async with AsyncExitStack() as doors:
        clients = []
        limits = httpx2.Limits(max_connections=1)
        for user in users:
            client = httpx2.AsyncClient(
                base_url=server.url,
                headers={"Authorization": f"Bearer {server.token(user)}"},
                timeout=60,
                limits=limits,
                verify=False,
                trust_env=False,
            )
            clients.append(await doors.enter_async_context(client))
        return [await asyncio.gather(*(act(client) for client in clients)) for act in acts]


def adding(product: str, quantity: int = 1) -> Act:
    body = {"productId": product, "quantity": quantity}
    return lambda buyer: buyer.post("/api/cart/items", json=body)


def ordering(method: str = "link:stripe", **headers: str) -> Act:
    body = wish(paymentMethod=method)
    return lambda buyer: buyer.post("/api/orders", json=body, headers=headers)


def in_turn(*acts: Act) -> Act:
    """One buyer does the first act, the next buyer the second, and so on, round and round."""
    turns = cycle(acts)

    def whose_turn(buyer: Buyer) -> Awaitable[httpx2.Response]:
        return next(turns)(buyer)

    return whose_turn


def looking() -> Act:
    return lambda buyer: buyer.get("/api/cart")


def test_two_hundred_buyers_want_the_last_poster(fresh: Fresh, fresh_sign_in: SignIn) -> None:
    users = [anybody() for _ in range(200)]
    added, ordered, carts = asyncio.run(crowd(fresh.server, users, adding("prod_last"), ordering("credit_card"), looking()))
    assert Counter(answer.status_code for answer in added) == {201: 200}
    assert Counter(answer.status_code for answer in ordered) == {201: 1, 409: 199}
    for answer, cart in zip(ordered, carts, strict=True):
        if answer.status_code == 201:
            assert success(cart)["items"] == []
            continue
        assert refusal(answer, 409, "stock_insufficient") == {"items": [{"productId": "prod_last", "requested": 1, "available": 0}]}
        assert [item["quantity"] for item in success(cart)["items"]] == [1]
        assert success(cart)["version"] == 1
    anyone = fresh_sign_in()
    assert stock(anyone, "prod_last") == 0
    lucky = fresh_sign_in(users[[answer.status_code for answer in ordered].index(201)])
    assert eventually(lambda: orders_of(lucky)["orders"][0]["status"] == "paid")
    assert stock(anyone, "prod_last") == 0


def test_a_cart_says_what_has_been_sold_meanwhile(fresh_sign_in: SignIn) -> None:
    slow, quick = fresh_sign_in(), fresh_sign_in()
    left = stock(slow, "prod_few")
    item = add(slow, "prod_few", left)
    add(slow, "prod_003")
    buy_waiting(quick, "prod_few", 1)
    cart = look(slow)
    [problem] = cart["problems"]
    assert problem.pop("message")
    assert problem == {
        "itemId": item["id"],
        "productId": "prod_few",
        "code": "stock_insufficient",
        "available": left - 1,
    }
    assert cart["totalAmount"] == 500 * left + 250
    lamps = stock(slow, "prod_003")
    details = refusal(slow.post("/api/orders", json=wish()), 409, "stock_insufficient")
    assert details == {"items": [{"productId": "prod_few", "requested": left, "available": left - 1}]}
    assert (quantities(slow), look(slow)["version"]) == ({"prod_few": left, "prod_003": 1}, 2)
    assert stock(slow, "prod_003") == lamps
    success(slow.put(f"/api/cart/items/{item['id']}", json={"quantity": left - 1}))
    assert look(slow)["problems"] == []
    order = place(slow, paymentMethod="link:stripe")
    success(slow.put(f"/api/orders/{order['id']}/status", json={"status": "cancelled"}))
    assert stock(slow, "prod_few") == left - 1


def test_twenty_buyers_share_what_is_left(fresh: Fresh, fresh_sign_in: SignIn) -> None:
    left = stock(fresh_sign_in(), "prod_few")
    assert left > 0
    users = [anybody() for _ in range(20)]
    _, ordered = asyncio.run(crowd(fresh.server, users, adding("prod_few"), ordering()))
    assert Counter(answer.status_code for answer in ordered) == {201: left, 409: 20 - left}
    assert stock(fresh_sign_in(), "prod_few") == 0


def test_opposite_line_orders_do_not_lock_each_other_out(fresh: Fresh, fresh_sign_in: SignIn) -> None:
    """Half of the buyers put A before B, half B before A; all order at once."""
    anyone = fresh_sign_in()
    before = [stock(anyone, product) for product in ("prod_001", "prod_002")]
    one, other = adding("prod_001"), adding("prod_002")
    users = [anybody() for _ in range(100)]
    acts = in_turn(one, other), in_turn(other, one), ordering("credit_card")
    first, second, ordered = asyncio.run(crowd(fresh.server, users, *acts))
    assert {answer.status_code for answer in first + second} == {201}
    assert Counter(answer.status_code for answer in ordered) == {201: 100}
    after = [stock(anyone, product) for product in ("prod_001", "prod_002")]
    assert [was - now for was, now in zip(before, after, strict=True)] == [100, 100]


@pytest.mark.parametrize("with_keys", [True, False], ids=["different keys", "no keys"])
@pytest.mark.parametrize("method", ["credit_card", "link:stripe"])
def test_twenty_tabs_pay_one_cart_once(fresh: Fresh, fresh_sign_in: SignIn, method: str, *, with_keys: bool) -> None:
    user = anybody()
    buyer = fresh_sign_in(user)
    before = stock(buyer, "prod_007")
    add(buyer, "prod_007", 2)

    def one_tab(tab: Buyer) -> Awaitable[httpx2.Response]:
        headers = {"Idempotency-Key": a_key()} if with_keys else {}
        return ordering(method, **headers)(tab)

    [answers] = asyncio.run(crowd(fresh.server, [user] * 20, one_tab))
    assert Counter(answer.status_code for answer in answers) == {201: 1, 200: 19}
    for answer in answers:
        if answer.status_code == 200:
            assert answer.json()["message"] == "Order already created"
    orders = [success(answer, answer.status_code) for answer in answers]
    assert len({order["id"] for order in orders}) == 1
    assert len({order["paymentId"] for order in orders}) == 1
    assert orders_of(buyer)["total"] == 1
    assert stock(buyer, "prod_007") == before - 2
    if method == "credit_card":
        paid = wait_for(buyer, orders[0]["id"], "paid", "paid")
        assert books(fresh.server, paid) == (paid["totalAmount"], Decimal(0), 0)


def test_an_order_and_an_edit_at_once_never_mix(fresh: Fresh, fresh_sign_in: SignIn) -> None:
    """What was ordered plus what is left is what was put in, whoever came first."""
    for _ in range(10):
        user = anybody()
        buyer = fresh_sign_in(user)
        add(buyer, "prod_011", 1)
        turns = in_turn(ordering(), adding("prod_011", 2), adding("prod_011", 4))
        [answers] = asyncio.run(crowd(fresh.server, [user] * 3, turns))
        assert [answer.status_code for answer in answers] == [201, 201, 201]
        ordered = success(answers[0], 201)["items"][0]["quantity"]
        assert ordered + quantities(buyer).get("prod_011", 0) == 7
