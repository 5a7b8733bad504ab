"""Everybody at once: one winner, one charge, nobody left in between (F21 to F24, F28, F29, F33, F34).

What each contract promises alone stands beside its other tests; here the two are mixed, and what ends an order races with what
pays it, ships it, or lets go of its stock.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from tests import rig
from tests.contracts.checkout.journeys import order_form

from kassa import verify
from kassa.kit.context import Context
from kassa.kit.database import Database
from kassa.kit.secrets import Keys

if TYPE_CHECKING:
    from tests.conftest import StartKassa

End = tuple[str, str, bool]
Ask = tuple[str, str, dict[str, Any] | None, dict[str, str]]

LINKS = """
    SELECT o.status, p.status AS payment, p.captured_minor - p.refunded_minor AS net
      FROM orders o JOIN payments p USING (merchant_id, payment_id) WHERE o.payment_method = $1
"""
ADDRESS = {"street": "1 Hill Road", "city": "Pune", "state": "MH", "postalCode": "411001", "country": "India"}
_users = itertools.count(900_000)
_keys = itertools.count(1)


@pytest.fixture(scope="module")
def shop(start_kassa: StartKassa) -> rig.Server:
    """A shop of its own, because stock is counted here."""
    return start_kassa(LOG_LEVEL="warning")


@pytest.fixture(autouse=True)
def _the_books_are_right(shop: rig.Server) -> Iterator[None]:
    yield

    async def look() -> list[str]:
        db = await Database.connect(shop.dsn, size=2)
        try:
            found = await verify.run(Context(db, Keys(b"x" * 32)))
        finally:
            await db.close()
        return [f"{each.invariant} {each.subject}: {each.text}" for each in found]

    assert rig.run_alone(look) == []
    assert "Traceback" not in shop.log_text()


@asynccontextmanager
async def crowd(shop: rig.Server) -> AsyncIterator[httpx2.AsyncClient]:
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx2.AsyncClient(base_url=shop.url, timeout=60, trust_env=False, limits=limits) as client:
        yield client


async def ask(client: httpx2.AsyncClient, wish: Ask) -> httpx2.Response:
    method, path, body, headers = wish
    return await client.request(method, path, content=json.dumps(body).encode() if body else None, headers=headers)


async def all_at_once(client: httpx2.AsyncClient, wishes: list[Ask]) -> list[httpx2.Response]:
    return list(await asyncio.gather(*(ask(client, wish) for wish in wishes)))


def key() -> dict[str, str]:
    return {"Idempotency-Key": f"race-{next(_keys):08d}"}


class Buyer:
    """Somebody signed in, with a cart."""

    def __init__(self, shop: rig.Server, role: str | None = None) -> None:
        self.user = next(_users)
        self.headers = {"Authorization": f"Bearer {shop.token(self.user, role)}"}

    def puts(self, product: str, quantity: int = 1) -> Ask:
        return "POST", "/api/cart/items", {"productId": product, "quantity": quantity}, self.headers

    def orders(self, method: str = "credit_card", **headers: str) -> Ask:
        return "POST", "/api/orders", {"shippingAddress": ADDRESS, "paymentMethod": method}, self.headers | headers

    def moves(self, order: str, status: str, **headers: str) -> Ask:
        return "PUT", f"/api/orders/{order}/status", {"status": status}, self.headers | headers

    def reads(self, order: str) -> Ask:
        return "GET", f"/api/orders/{order}", None, self.headers


def guest(*products: str) -> Ask:
    form = order_form(*({"product_id": product, "quantity": 1} for product in products))
    return "POST", "/checkout/process", form, key()


async def stock(client: httpx2.AsyncClient, product: str) -> int:
    found: int = (await client.get(f"/api/products/{product}")).json()["data"]["stock"]
    return found


async def ordered(client: httpx2.AsyncClient, buyer: Buyer, method: str, product: str = "prod_001") -> str:
    (await ask(client, buyer.puts(product))).raise_for_status()
    answer = await ask(client, buyer.orders(method))
    assert answer.status_code == 201, answer.text
    found: str = answer.json()["data"]["id"]
    return found


async def at_rest(client: httpx2.AsyncClient, buyer: Buyer, order: str) -> dict[str, Any]:
    """The order once its payment has come to an end."""
    for _ in range(200):
        found: dict[str, Any] = (await ask(client, buyer.reads(order))).json()["data"]
        if (found["status"], found["paymentStatus"]) in {("paid", "paid"), ("cancelled", "refunded"), ("cancelled", "failed")}:
            return found
        await asyncio.sleep(0.03)
    raise AssertionError(found)


async def link_of(client: httpx2.AsyncClient, buyer: Buyer, order: str) -> str:
    found: str = (await ask(client, buyer.reads(order))).json()["data"]["paymentUrl"]
    return found


async def pay(client: httpx2.AsyncClient, link: str, after_s: float) -> None:
    await asyncio.sleep(after_s)
    token = link.rsplit("/", 1)[1]
    (await client.post(f"/sandbox/payments/{token}/accept")).raise_for_status()


async def ends_of_links(shop: rig.Server, wanted: set[End], method: str = "link:stripe") -> Counter[End]:
    """How orders by link have ended (order, payment, whether money was kept), once all of them are as wanted."""
    for _ in range(100):
        rows = await asyncio.to_thread(shop.sql, LINKS, method)
        ends = Counter((row["status"], row["payment"], row["net"] > 0) for row in rows)
        if set(ends) <= wanted:
            return ends
        await asyncio.sleep(0.1)
    raise AssertionError(ends)


async def test_two_hundred_buyers_at_both_doors_want_the_last_poster(shop: rig.Server) -> None:
    """A hundred guests pay in one call while a hundred buyers order from their carts."""
    buyers = [Buyer(shop) for _ in range(100)]
    async with crowd(shop) as client:
        await all_at_once(client, [buyer.puts("prod_last") for buyer in buyers])
        wishes = [wish for buyer in buyers for wish in (guest("prod_last"), buyer.orders(**key()))]
        answers = await all_at_once(client, wishes)
        assert Counter(answer.status_code for answer in answers) in (
            Counter({200: 1, 422: 99, 409: 100}),
            Counter({201: 1, 422: 100, 409: 99}),
        )
        refused = [answer.text for answer in answers if answer.status_code in {409, 422}]
        assert all("stock_insufficient" in text for text in refused)
        assert await stock(client, "prod_last") == 0
    sold = shop.sql("SELECT status FROM orders JOIN order_lines USING (merchant_id, order_id) WHERE product_id = 'prod_last'")
    assert [row["status"] for row in sold] == ["paid"]


async def test_fifty_identical_orders_are_one(shop: rig.Server) -> None:
    buyer, same = Buyer(shop), key()
    async with crowd(shop) as client:
        await ask(client, buyer.puts("prod_002", 2))
        answers = await all_at_once(client, [buyer.orders(**same)] * 50)
        assert Counter(answer.status_code for answer in answers) == {201: 50}
        assert len({answer.content for answer in answers}) == 1
        assert len([answer for answer in answers if "Idempotent-Replayed" not in answer.headers]) == 1
        end = await at_rest(client, buyer, answers[0].json()["data"]["id"])
    assert (end["status"], end["paymentStatus"]) == ("paid", "paid")
    assert shop.sql("SELECT status FROM checkouts WHERE buyer_id = $1", str(buyer.user)) == [{"status": "completed"}]


async def test_opposite_baskets_at_both_doors_wait_for_each_other_in_vain_never(shop: rig.Server) -> None:
    products = ["prod_001", "prod_002", "prod_004", "prod_007"]
    buyers = [Buyer(shop) for _ in range(40)]
    async with crowd(shop) as client:
        before = {product: await stock(client, product) for product in products}
        for step in range(2):
            await all_at_once(client, [buyer.puts(products[(place + step) % 4]) for place, buyer in enumerate(buyers)])
        baskets = [tuple(random.sample(products, 3)) for _ in range(40)]
        wishes = [wish for basket, buyer in zip(baskets, buyers, strict=True) for wish in (guest(*basket), buyer.orders(**key()))]
        answers = await all_at_once(client, wishes)
        assert Counter(answer.status_code for answer in answers) == {200: 40, 201: 40}
        sold = Counter(product for basket in baskets for product in basket)
        sold += Counter(products[(place + step) % 4] for place in range(40) for step in range(2))
        assert {product: before[product] - await stock(client, product) for product in products} == dict(sold)


async def test_two_tabs_with_different_keys_pay_one_cart_once(shop: rig.Server) -> None:
    buyers = [Buyer(shop) for _ in range(10)]
    async with crowd(shop) as client:
        await all_at_once(client, [buyer.puts("prod_003") for buyer in buyers])
        answers = await all_at_once(client, [buyer.orders(**key()) for buyer in buyers for _ in range(2)])
        for buyer, *tabs in zip(buyers, answers[::2], answers[1::2], strict=True):
            assert sorted(tab.status_code for tab in tabs) == [200, 201]
            one, other = (tab.json()["data"] for tab in tabs)
            assert (one["id"], one["paymentId"]) == (other["id"], other["paymentId"])
            assert (await at_rest(client, buyer, one["id"]))["status"] == "paid"
            assert len(shop.sql("SELECT 1 FROM checkouts WHERE buyer_id = $1", str(buyer.user))) == 1


async def test_cancelling_races_with_paying(shop: rig.Server) -> None:
    """The order is placed and cancelled in the same breath: it ends cancelled, with nothing owed and its stock back."""
    async with crowd(shop) as client:
        before = await stock(client, "prod_008")

        async def one() -> tuple[str, str]:
            buyer = Buyer(shop)
            order = await ordered(client, buyer, "credit_card", "prod_008")
            await asyncio.sleep(random.uniform(0, 0.012))
            moved = await ask(client, buyer.moves(order, "cancelled"))
            assert moved.status_code == 200, moved.text
            end = await at_rest(client, buyer, order)
            return end["status"], end["paymentStatus"]

        ends = Counter(await asyncio.gather(*(one() for _ in range(40))))
        assert set(ends) <= {("cancelled", "refunded"), ("cancelled", "failed")}, ends
        assert await stock(client, "prod_008") == before


async def test_cancelling_races_with_paying_a_link(shop: rig.Server) -> None:
    """Paid first, the cancel refunds; cancelled first, the money comes late and goes back. Either way nothing is kept."""
    async with crowd(shop) as client:
        before = await stock(client, "prod_008")
        buyers = [Buyer(shop) for _ in range(20)]
        orders = [await ordered(client, buyer, "link:paypal", "prod_008") for buyer in buyers]
        links = [await link_of(client, *each) for each in zip(buyers, orders, strict=True)]

        async def cancel(buyer: Buyer, order: str) -> None:
            await asyncio.sleep(random.uniform(0, 0.1))
            moved = await ask(client, buyer.moves(order, "cancelled"))
            assert moved.status_code == 200, moved.text

        pays = [pay(client, link, random.uniform(0, 0.1)) for link in links]
        await asyncio.gather(*pays, *(cancel(*each) for each in zip(buyers, orders, strict=True)))
        ends = await ends_of_links(shop, {("cancelled", "refunded", False)}, "link:paypal")
        assert sum(ends.values()) == 20
        assert await stock(client, "prod_008") == before


async def test_cancelling_races_with_shipping(shop: rig.Server) -> None:
    """Two buttons, one winner: shipped and kept, or cancelled and never shipped (F33)."""
    staff = Buyer(shop, "staff")
    async with crowd(shop) as client:

        async def one() -> str:
            buyer = Buyer(shop)
            order = await ordered(client, buyer, "cash_on_delivery", "prod_009")
            while (await ask(client, buyer.reads(order))).json()["data"]["status"] == "pending":
                await asyncio.sleep(0.01)
            wishes = [staff.moves(order, "shipped"), buyer.moves(order, "cancelled"), staff.moves(order, "cancelled", **key())]
            random.shuffle(wishes)
            answers = await all_at_once(client, wishes)
            said = {answer.status_code for answer in answers}
            assert said <= {200, 409}, [answer.text for answer in answers]
            end = (await ask(client, buyer.reads(order))).json()["data"]["status"]
            shipped = next(answer for answer, wish in zip(answers, wishes, strict=True) if wish[2] == {"status": "shipped"})
            assert (shipped.status_code == 200) is (end == "shipped"), (end, shipped.text)
            tracked = await client.get(f"/api/orders/{order}/tracking", headers=buyer.headers)
            assert ("cancelled" in tracked.text) is (end == "cancelled")
            return str(end)

        ends = Counter(await asyncio.gather(*(one() for _ in range(20))))
    assert set(ends) <= {"shipped", "cancelled"}, ends


async def test_letting_go_of_stock_races_with_paying_a_link(shop: rig.Server) -> None:
    """The deadline passes at the moment the buyer pays: captured and sold, or refunded, and never captured and given away (F34)."""
    async with crowd(shop) as client:
        before = await stock(client, "prod_006")
        buyers = [Buyer(shop) for _ in range(30)]
        orders = [await ordered(client, buyer, "link:stripe", "prod_006") for buyer in buyers]
        links = [await link_of(client, *each) for each in zip(buyers, orders, strict=True)]

        async def strike() -> None:
            await asyncio.sleep(0.15)
            await asyncio.to_thread(shop.sql, "SELECT kassa_move_clock(interval '30 minutes')")

        acts: list[Awaitable[None]] = [strike(), *(pay(client, link, random.uniform(0, 0.6)) for link in links)]
        await asyncio.gather(*acts)
        ends = await ends_of_links(shop, {("paid", "paid", True), ("cancelled", "refunded", False)})
        assert sum(ends.values()) == 30
        assert before - await stock(client, "prod_006") == ends["paid", "paid", True]
