"""Redis is gone, empty, frozen, or has lost what was published (F54, F55)."""

from __future__ import annotations

import time
from typing import Any

import redis as library
from tests.contracts.purchases.ambassadors import open_agency
from tests.contracts.purchases.journeys import PAYME, Buyer, Json, Shop, open_shop
from tests.crash.asking import Ask
from tests.crash.fault import fault
from tests.crash.faults.clients import opened
from tests.crash.field import Field, Run
from tests.crash.nursery import Born
from tests.crash.steady import Steady
from tests.crash.till import SECRET

LAMP = "prod_003"
SHELF_S = 6
"""A page of the catalogue is at most 5 s old."""


@fault(
    "F54",
    "Redis is killed, emptied or frozen while people buy",
    holds="8 10",
    passes="purchases as with it; they take at most twice as long; limits go on in each process",
    quick=3,
    alone=True,
)
def redis_in_trouble(field: Field) -> None:
    """Every request asks Redis, for a limit that nobody reaches. Each run is a trouble of about a second, with calm before it."""
    redis = field.redis()
    shop = opened(field, REDIS_URL=redis.url, RATE_LIMIT="5000/second")
    here, there = shop.servers

    def one(run: Run) -> None:
        with crowd.during("calm"):
            time.sleep(0.8)
        harm = ("killed", "frozen", "emptied")[run.number % 3]
        with crowd.during("trouble"):
            _harm(redis, harm)
            _buys_a_lamp(run, harm)
            time.sleep(0.8)
        redis.revive()
        began = time.monotonic()
        while library.Redis.from_url(redis.url).dbsize() == 0 and time.monotonic() - began < 10:
            time.sleep(0.02)
        run.recovered(time.monotonic() - began)

    def _buys_a_lamp(run: Run, harm: str) -> None:
        """Whoever buys sees it at once where it was bought, and soon everywhere."""
        buyer, left = field.buyer(), _left(shop, here)
        said = shop.history.insist([here], buyer.buys((LAMP, 1)))
        run.check(said is not None and said.status == 200, f"{harm}: {said}")
        run.check(_left(shop, here) == left - 1, f"{harm}: {_left(shop, here)} lamps are shown where one of {left} was bought")
        until = time.monotonic() + SHELF_S
        while (seen := _left(shop, there)) != left - 1 and time.monotonic() < until:
            time.sleep(0.05)
        run.check(seen == left - 1, f"{harm}: {seen} lamps are shown elsewhere, there are {left - 1}")

    with Steady(field, here, shop.history, rate=15) as crowd:
        field.each(one)
    field.check(not crowd.failed, f"{len(crowd.failed)} purchases failed: {crowd.failed[:3]}")
    crowd.compare("calm", "trouble", 2.0, (0.5, 0.95))
    shop.judge()
    if field.runs >= 20:
        field.tests("tests/flows/test_redis.py")


def _harm(redis: Any, harm: str) -> None:
    if harm == "killed":
        redis.kill()
    elif harm == "frozen":
        redis.freeze()
    else:
        library.Redis.from_url(redis.url).flushall()


def _left(shop: Any, server: Born) -> int:
    said = shop.history.insist([server], Ask("GET", f"/api/products/{LAMP}", user=7))
    assert said is not None, "no answer to somebody who looks"
    found: int = said.json["data"]["stock"]
    return found


# ── what was published and not heard ─────────────────────────────────────────────────────────────────────────────────

FIVE_MINUTES_S = 301
LOOKED_WITHIN_S = 15


@fault(
    "F55",
    "`ambassador.deleted` is published while nobody listens, or never arrives",
    holds="3",
    passes="found at checkout, at the subscriber's start, and by the look every five minutes",
)
def deletions_unheard(field: Field) -> None:
    """Half of the ambassadors leave while the worker is dead, the others without any word. Each is in one cart, and in a purchase that waits for its money."""
    redis = field.redis()
    with open_agency() as agency:
        town = field.town(KASSA_SECRET=SECRET, REDIS_URL=redis.url, **PAYME, **agency.settings)
        api = town.made("serve", town.home / "api")
        api.start()
        with open_shop(api, agency) as shop:
            worker = town.born("work")
            half = field.runs // 2
            worker.kill()
            unheard = [_leaves(field, shop, redis.url) for _ in range(half)]
            began = time.monotonic()
            worker.start()
            field.each(lambda run: _is_found(run, shop, unheard[run.number], began), runs=half, at_once=4)
            time.sleep(1)  # the look at its start is over
            silent = [_leaves(field, shop, "") for _ in range(field.runs - half)]
            shop.later(FIVE_MINUTES_S)
            began = time.monotonic()
            field.each(lambda run: _is_found(run, shop, silent[run.number - half], began), runs=field.runs - half, at_once=4)
            shop.books_agree()
            field.judge(town, api)


def _leaves(field: Field, shop: Shop, url: str) -> tuple[Buyer, Buyer, Json, int]:
    """An ambassador leaves; who has them in a cart and who in a purchase with another one, that purchase, and the other one."""
    leaves, stays = shop.agency.hire(100, 20)
    fills, waits = shop.buyer(), shop.buyer()
    purchase = waits.buy(leaves, stays)
    fills.add(leaves, stays)
    if url:
        told = library.Redis.from_url(url).publish("ambassador.deleted", str(leaves))
        field.check(told == 0, f"{told} heard it")
    shop.agency.fire(leaves)
    said = fills.check_out()
    field.check(
        said.status_code == 409 and leaves in said.json()["invalid_ids"], f"sold at checkout: {said.status_code} {said.text}"
    )
    return fills, waits, purchase, stays


def _is_found(run: Run, shop: Shop, left: tuple[Buyer, Buyer, Json, int], began: float) -> None:
    fills, waits, purchase, stays = left
    until = time.monotonic() + LOOKED_WITHIN_S
    while not (fills.in_cart() == waits.in_cart() == [stays] and shop.is_over(purchase)) and time.monotonic() < until:
        time.sleep(0.1)
    run.recovered(time.monotonic() - began)
    run.check(fills.in_cart() == [stays], f"the cart has {fills.in_cart()}")
    run.check(shop.is_over(purchase), f"the purchase is {shop.status(purchase)}")
    said = waits.check_out()
    run.check(said.status_code == 201 and said.json()["amount"] == 20, f"the rest cannot be bought: {said.status_code} {said.text}")
    shop.payme.pay(said.json())
    run.check(waits.owns() == [stays], f"bought was {waits.owns()}")
