"""Buyers who keep ordering tea, to be paid at the door, while processes are replaced: every answer that is no success is noted."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

import httpx2
from tests import rig

from kassa.catalog import Publication, publish, publish_channel
from kassa.demo import SHOP
from kassa.kit.database import Database
from kassa.kit.money import Money
from kassa.kit.tokens import issue_token

_ADDRESS = {"street": "123 Main St", "city": "Mumbai", "state": "Maharashtra", "postalCode": "400001", "country": "India"}


class Buyers:
    """What several buyers were answered so far."""

    def __init__(self, url: str, secret: str) -> None:
        self.failed: list[str] = []
        self.orders: set[str] = set()
        self.served = 0
        self._url = url
        self._secret = secret

    def keep_buying(self, number: int, over: threading.Event) -> None:
        """Order until it is over. Even numbers keep their connection, odd ones make another for each order."""
        line = self._line(number)
        while not over.is_set():
            try:
                self._order(line)
            except (httpx2.HTTPError, AssertionError) as error:
                self.failed.append(repr(error))
            time.sleep(0.02)
            if number % 2:
                line.close()
                line = self._line(number)
        line.close()

    def _line(self, number: int) -> httpx2.Client:
        now = int(time.time())
        token = issue_token(self._secret, "HS256", str(number), "user", issued=now, expires=now + 3600)
        return httpx2.Client(base_url=self._url, headers={"Authorization": f"Bearer {token}"}, timeout=30, trust_env=False)

    def _order(self, line: httpx2.Client) -> None:
        self._ask(line, "GET", "/api/products")
        self._ask(line, "POST", "/api/cart/items", {"productId": "tea", "quantity": 1})
        order = self._ask(line, "POST", "/api/orders", {"shippingAddress": _ADDRESS, "paymentMethod": "cash_on_delivery"})
        self.orders.add(order.json()["data"]["id"])

    def _ask(self, line: httpx2.Client, method: str, path: str, body: object = None) -> httpx2.Response:
        answer = line.request(method, path, json=body)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text[:300]}"
        self.served += 1
        return answer


@contextlib.contextmanager
def buying(url: str, secret: str, size: int = 2) -> Iterator[Buyers]:
    """Buyers at `url`, as long as the block lasts; `secret` signs their tokens."""
    made, over = Buyers(url, secret), threading.Event()
    threads = [threading.Thread(target=made.keep_buying, args=(number, over)) for number in range(size)]
    for each in threads:
        each.start()
    try:
        yield made
    finally:
        over.set()
        for each in threads:
            each.join()


def put_up_for_sale(dsn: str) -> None:
    """A shop with tea, of which there is enough."""

    async def put() -> None:
        db = await Database.connect(dsn, size=1)
        try:
            async with db.transaction("stock") as tx:
                await publish_channel(tx, "Corner Shop", SHOP)
                await publish(tx, SHOP, [Publication("tea", "Tea", Money(5_000, "INR"), 1_000_000)])
        finally:
            await db.close()

    rig.run_alone(put)
