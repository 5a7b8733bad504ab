"""Two processes serve one shop: a buyer who meets both sees one cart, one purchase and one history."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx2
import pytest
import redis
from tests import services

from .journeys import PAYME, SHARED, Buyer, Shop, a_key, at_once, eventually, good, open_shop, told_of

if TYPE_CHECKING:
    from tests.conftest import StartKassa


@pytest.fixture(scope="module")
def twin(house: Shop, house_redis: services.OwnRedis, start_kassa: StartKassa) -> Iterator[Shop]:
    """The same shop behind another door."""
    server = start_kassa(database=house.server.dsn, REDIS_URL=house_redis.url, **PAYME, **SHARED)
    with open_shop(server) as twin:
        yield twin


def both(act: str, path: str, here: Buyer, there: Buyer, **options: object) -> list[httpx2.Response]:
    """The same request 20 times at each door."""
    with ThreadPoolExecutor(2) as hands:
        rushes = [hands.submit(at_once, one, 20, act, path, **options) for one in (here, there)]
        return [answer for rush in rushes for answer in rush.result()]


def test_what_is_pressed_at_both_doors_happens_once(house: Shop, twin: Shop) -> None:
    here = house.buyer()
    there = twin.buyer(here.user)
    added = both("POST", "/cart/items", here, there, json={"ambassador_id": 1})
    assert Counter(answer.status_code for answer in added) == {201: 1, 200: 39}
    bought = both("POST", "/checkout", here, there)
    assert Counter(answer.status_code for answer in bought) == {201: 40}
    assert len({answer.content for answer in bought}) == 1
    purchase = good(bought[0], 201)
    transaction = house.payme.create(purchase)
    with ThreadPoolExecutor(8) as hands:
        performed = list(hands.map(lambda door: door.payme.perform(transaction), [house, twin] * 4))
    assert all(result == performed[0] for result in performed)
    assert here.owns() == there.owns() == [1]
    assert here.in_cart() == there.in_cart() == []
    assert told_of(house, purchase).count("order.paid") == 1


def test_a_key_is_known_at_both_doors(house: Shop, twin: Shop) -> None:
    here = house.buyer()
    there = twin.buyer(here.user)
    here.add(1)
    key = {"Idempotency-Key": a_key()}
    first = here.check_out(headers=key)
    good(first, 201)
    again = there.check_out(headers=key)
    assert (again.content, again.headers["Idempotent-Replayed"]) == (first.content, "true")


def test_a_deletion_that_both_hear_has_one_effect(house: Shop, twin: Shop, house_redis: services.OwnRedis) -> None:
    leaves, stays = 2, 1
    here = house.buyer()
    there = twin.buyer(here.user)
    purchase = here.buy(leaves, stays)
    line = redis.Redis.from_url(house_redis.url)
    try:
        message = json.dumps({"event_id": a_key(), "type": "ambassador.deleted", "ambassador_id": leaves})
        assert eventually(lambda: line.publish("ambassador.deleted", message) == 2, within=15)  # both listen
    finally:
        line.close()
    assert eventually(lambda: there.in_cart() == [stays] and house.is_over(purchase), within=1)
    assert told_of(house, purchase).count("order.cancelled") == 1
    good(there.check_out(), 201)
    assert here.in_cart() == [stays]
