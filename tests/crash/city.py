"""A whole installation: two APIs, gRPC, three workers, PostgreSQL, broker, Redis and neighbours, with a proxy on every line between them.

Where a `Town` is one process that does everything, here each does its own work, and any of them, or any line, may fail at any time.
"""

from __future__ import annotations

import base64
import random
import time
from dataclasses import dataclass, field
from typing import Any

from tests import rig
from tests.services import OwnRabbit, OwnRedis

from .clusters import Cluster
from .field import Field
from .hooks import Hooks
from .nursery import Born
from .playing import Town
from .proxy import Proxy

APIS, WORKERS = 2, 3
SERVICES = ("payment", "inventory", "order", "link")


@dataclass
class City:
    """All of it, running. `everybody` are the processes of Kassa; `proxies` the lines, by the name of what is behind them."""

    town: Town
    cluster: Cluster
    rabbit: OwnRabbit
    redis: OwnRedis
    apis: list[Born] = field(default_factory=list)
    rpc: list[Born] = field(default_factory=list)
    workers: list[Born] = field(default_factory=list)
    proxies: dict[str, Proxy] = field(default_factory=dict)
    hooks: Hooks | None = None

    @property
    def everybody(self) -> list[Born]:
        """Every process of Kassa."""
        return [*self.apis, *self.rpc, *self.workers]

    @property
    def api(self) -> Born:
        """One API, for whoever needs just one."""
        return self.apis[0]

    def revive(self) -> float:
        """Start whatever does not run, the database first; the seconds that it took until all were ready."""
        began = time.monotonic()
        for proxy in self.proxies.values():
            proxy.clear()
        self.cluster.thaw()
        if not self.cluster.alive():
            self.cluster.start()
        self.rabbit.revive()
        self.redis.revive()
        for each in self.everybody:
            if not each.alive():
                each.process = None
                each.start()
        return time.monotonic() - began

    def someone(self, chance: random.Random) -> Born:
        """A process of Kassa that lives, whichever chance wants."""
        return chance.choice([each for each in self.everybody if each.alive()] or self.everybody)


def open_city(field_: Field, cluster: Cluster, rabbit: OwnRabbit, redis: OwnRedis, accounts: int = 1) -> City:
    """Found a city on this cluster and these services: a fresh database, the demo shop, all processes ready."""
    town = field_.town(*SERVICES, dsn=cluster.fresh())
    assert town.sandbox is not None
    behind = {"database": town.dsn, "broker": rabbit.url, "redis": redis.url, "neighbours": town.sandbox.url}
    proxies = {name: field_.proxy(url) for name, url in behind.items()}
    city = City(town, cluster, rabbit, redis, proxies=proxies, hooks=town.listen(accounts))
    settings: dict[str, Any] = {
        "DATABASE_URL": proxies["database"].url,
        "DATABASE_POOL_SIZE": 5,
        "KASSA_SECRET": base64.b64encode(b"a secret of thirty-two bytes....").decode(),
        **field_.rooms(rabbit.url),
        "RABBITMQ_URL": proxies["broker"].url,
        "REDIS_URL": proxies["redis"].url,
        "WEBHOOK_TIMEOUT_S": 2,
        "WEBHOOK_RETRY_SECONDS": "0,1,1,2,2,5",
        **{
            name: url.replace(town.sandbox.url, proxies["neighbours"].url) for name, url in town.sandbox.settings(*SERVICES).items()
        },
    }
    for word, made, count in (("serve", city.apis, APIS), ("rpc", city.rpc, 1), ("work", city.workers, WORKERS)):
        for number in range(count):
            own = {} if word == "serve" and number == 0 else {"HTTP_PORT": rig.free_port()}  # the first hears the link provider
            made.append(town.made(word, town.home / f"{word}{number}", **settings, **own))
            made[-1].start()
            assert made[-1].alive(), made[-1].log_text()[-2000:]
    return city
