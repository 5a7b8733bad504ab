"""One Kassa with ambassadors that can be told what to do, one with the demo data, each with a Redis of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests import rig, services
from tests.rig import Server

from .ambassadors import open_agency
from .journeys import PAYME, SHARED, Buyer, Shop, eventually, kassas_clock, open_shop


@pytest.fixture(scope="session")
def town_redis() -> Iterator[services.OwnRedis]:
    """The Redis of `shop`. Pub/sub knows no databases: a shared one would carry our deletions to others."""
    redis = services.make_redis()
    redis.start()
    yield redis
    redis.close()


@pytest.fixture(scope="session")
def house_redis() -> Iterator[services.OwnRedis]:
    """The Redis of `house`."""
    redis = services.make_redis()
    redis.start()
    yield redis
    redis.close()


@pytest.fixture(scope="session")
def _town(database_server: rig.DatabaseServer, _homes: Callable[[str], Path], town_redis: services.OwnRedis) -> Iterator[Shop]:
    with open_agency() as agency:
        settings = {**PAYME, **agency.settings, "REDIS_URL": town_redis.url}
        server = rig.make_server(_homes("town"), database_server.fresh(), settings)
        with rig.stopping([server]), open_shop(server, agency) as shop:
            server.start()
            yield shop
            server.kill()  # nobody waits for the end of what nobody asked


@pytest.fixture
def shop(_town: Shop) -> Shop:
    """A Kassa that asks our ambassadors service, shared by all files: hire ambassadors of your own, and never move its clock.

    Its source must answer within 300 ms: let few ask at once. When an earlier test was too slow, its breaker is given time.
    """
    assert eventually(_town.is_served, within=30)
    return _town


@pytest.fixture(scope="session")
def _far_market(database_server: rig.DatabaseServer, _homes: Callable[[str], Path]) -> Iterator[Shop]:
    with open_agency() as agency:
        server = rig.make_server(_homes("market"), database_server.fresh(), {**PAYME, **agency.settings})
        with rig.stopping([server]), open_shop(server, agency) as market:
            server.start()
            yield market
            server.kill()


@pytest.fixture
def market(_far_market: Shop) -> Shop:
    """A Kassa without Redis, whose ambassadors service may go away. Its breaker is closed when a test begins."""
    assert eventually(_far_market.is_served, within=30)
    return _far_market


@pytest.fixture(scope="session")
def house(database_server: rig.DatabaseServer, _homes: Callable[[str], Path], house_redis: services.OwnRedis) -> Iterator[Shop]:
    """A Kassa with its own catalog, whose clock may be moved. Ambassadors 1 and 4 stay, the others will be deleted."""
    server = rig.make_server(_homes("house"), database_server.fresh(), {**PAYME, **SHARED, "REDIS_URL": house_redis.url})
    with rig.stopping([server]), open_shop(server, clock=kassas_clock(server)) as house:
        server.start()
        yield house
        server.kill()


@pytest.fixture(scope="module")
def plain(server: Server) -> Iterator[Shop]:
    """The Kassa that all contracts share: default settings, the demo ambassadors."""
    with open_shop(server) as plain:
        yield plain


@pytest.fixture
def buyer(shop: Shop) -> Buyer:
    return shop.buyer()
