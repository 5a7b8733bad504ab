"""Redis makes things quicker and shared, and never decides: the same purchases with it, without it, and when it dies in the middle."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import TYPE_CHECKING

import httpx2
import pytest
from redis import Redis as PlainRedis
from tests import rig, services
from tests.contracts.orders.journeys import Json, SignIn, anybody, buy, eventually, moved, people, success, wait_for

if TYPE_CHECKING:
    from tests.conftest import StartKassa

MOUSE, LAMP = "prod_001", "prod_003"
BUYERS = 6


@pytest.fixture(scope="module")
def redis() -> Iterator[services.OwnRedis]:
    redis = services.make_redis()
    redis.start()
    yield redis
    redis.close()


@pytest.fixture(scope="module")
def here(start_kassa: StartKassa, redis: services.OwnRedis) -> rig.Server:
    return start_kassa(REDIS_URL=redis.url)


@pytest.fixture(scope="module")
def there(start_kassa: StartKassa, redis: services.OwnRedis, here: rig.Server) -> rig.Server:
    """Another process over the same database and the same Redis."""
    return start_kassa(database=here.dsn, REDIS_URL=redis.url)


def stock(who: httpx2.Client, product: str) -> int:
    """As the product's page and the shop's page show it: both must say the same."""
    one = success(who.get(f"/api/products/{product}"))
    page = success(who.get("/api/products", params={"limit": 100}))["products"]
    assert next(each for each in page if each["id"] == product) == one
    found: int = one["stock"]
    return found


def story(sign_in: SignIn) -> Json:
    """One buyer buys a mouse, then another one and takes that back; each time the shop shows it at once."""
    buyer = sign_in()
    first = buy(buyer, MOUSE)
    paid = wait_for(buyer, first["id"], "paid")
    second = buy(buyer, MOUSE, 2)
    wait_for(buyer, second["id"], "paid")
    cancelled = moved(buyer, second["id"], "cancelled")
    return {"paid": paid["totalAmount"], "cancelled": cancelled["status"], "cart": success(buyer.get("/api/cart"))["totalItems"]}


def harms(redis: services.OwnRedis) -> dict[str, Callable[[], object]]:
    return {
        "nothing": lambda: None,
        "killed": redis.kill,
        "frozen": redis.freeze,
        "flushed": lambda: PlainRedis.from_url(redis.url).flushall(),
    }


@pytest.mark.parametrize("harm", ["nothing", "flushed", "killed", "frozen"])
def test_purchases_are_the_same_whatever_happens_to_redis_in_the_middle(
    here: rig.Server, there: rig.Server, redis: services.OwnRedis, harm: str
) -> None:
    redis.revive()
    with people(here) as at_one, people(there) as at_another, ThreadPoolExecutor(BUYERS) as crowd:
        opening = stock(at_one(), MOUSE)
        running = [crowd.submit(story, (at_one, at_another)[number % 2]) for number in range(BUYERS)]
        time.sleep(0.1)
        harms(redis)[harm]()
        ends = [each.result(60) for each in running]
        assert ends == [{"paid": Decimal("99.9"), "cancelled": "cancelled", "cart": 0}] * BUYERS
        assert eventually(lambda: stock(at_one(), MOUSE) == opening - BUYERS)
        assert eventually(lambda: stock(at_another(), MOUSE) == opening - BUYERS)
    redis.revive()


def test_a_buyer_sees_at_once_what_was_bought_with_redis_and_when_it_dies(here: rig.Server, redis: services.OwnRedis) -> None:
    redis.revive()
    with people(here) as sign_in:
        who = sign_in()
        left = stock(who, LAMP)
        for harm in (None, None, redis.freeze, None, redis.thaw, redis.kill, None, redis.start, None):
            if harm:
                harm()
            order = buy(who, LAMP)
            left -= 1
            assert stock(who, LAMP) == left
            wait_for(who, order["id"], "paid")
            assert stock(who, LAMP) == left


def test_a_frozen_redis_costs_no_more_than_a_few_time_limits_in_all(here: rig.Server, redis: services.OwnRedis) -> None:
    redis.revive()
    with people(here) as sign_in:
        who = sign_in()
        stock(who, MOUSE)
        redis.freeze()
        took = []
        for _ in range(100):
            began = time.monotonic()
            stock(who, MOUSE)
            took.append(time.monotonic() - began)
    redis.thaw()
    assert sorted(took)[-4] < 0.5
    assert here.log_text().count("redis: TimeoutError") <= 8, "one line for each time that it went away"


@pytest.mark.parametrize("reachable", [True, False])
def test_a_server_starts_and_sells_whether_or_not_redis_is_there(
    start_kassa: StartKassa, redis: services.OwnRedis, reachable: bool
) -> None:
    redis.revive()
    url = redis.url if reachable else f"redis://127.0.0.1:{rig.free_port()}/0"
    server = start_kassa(REDIS_URL=url)
    with people(server) as sign_in:
        assert story(sign_in) == {"paid": Decimal("99.9"), "cancelled": "cancelled", "cart": 0}


def test_two_processes_share_one_rate_limit(start_kassa: StartKassa, redis: services.OwnRedis) -> None:
    redis.revive()
    here = start_kassa(REDIS_URL=redis.url, RATE_LIMIT="30/hour")
    there = start_kassa(REDIS_URL=redis.url, RATE_LIMIT="30/hour", database=here.dsn)
    user = anybody()
    with people(here) as at_one, people(there) as at_another:
        one, other = at_one(user), at_another(user)
        answers = [who.get("/api/cart").status_code for _ in range(25) for who in (one, other)]
        assert answers == [200] * 30 + [429] * 20
        assert 3500 < int(other.get("/api/cart").headers["Retry-After"]) <= 3600
        assert at_one(anybody()).get("/api/cart").status_code == 200
        redis.freeze()
        began = time.monotonic()
        answers = [one.get("/api/cart").status_code for _ in range(30)]
        assert set(answers) <= {200, 429}
        assert answers.count(200) == 15, "this process goes on from what it has let through itself"
        assert time.monotonic() - began < 10
    redis.thaw()
