"""What buyers notice of a broker that is away for a while and comes back: `python -m bench.outage`, with `--dev` in one process.

Buyers come at a steady rate, whether or not earlier ones have been answered. A broker of our own is stopped under that load and
started again; their times before, without it, and while the backlog drains are told apart, and nothing may be lost.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import secrets
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

import aiohttp
import uvloop
from tests import services

from bench.town import SPREAD, Town, town
from kassa.kit.database import Database
from kassa.kit.secrets import Keys
from kassa.webhooks.endpoints import add_endpoint
from kassa.webhooks.model import Wish

ENDPOINTS = 2
WARM_S = 10.0
MUST = 1.2
PATIENCE_S = 600
_BEHIND = """
    SELECT (SELECT count(*) FROM deliveries
             WHERE status NOT IN ('success', 'failed') AND NOT replayed AND created_at < now() - interval '2 seconds')
         + (SELECT count(*) FROM events WHERE place IS NULL AND occurred_at < now() - interval '2 seconds')
"""
_ENDED = "SELECT count(*) FROM deliveries WHERE status = 'success'"
_OTHERS = "SELECT count(*) FROM deliveries WHERE status <> 'success'"
_CARD = {"type": "credit_card", "card_number": "4111111111111111", "card_expiry": "12/35", "card_cvv": "123"}
_ADDRESS = {"street": "Rua das Flores", "number": "123", "city": "Sao Paulo", "state": "SP", "zip_code": "01234-567"}


@dataclass
class Buyers:
    """Purchases at a steady rate; `times` are milliseconds, by the phase in which each began."""

    port: int
    token: str
    rate: float
    phase: str = "warming up"
    times: dict[str, list[float]] = field(default_factory=dict)
    wrong: int = 0

    @contextlib.asynccontextmanager
    async def coming(self) -> AsyncIterator[None]:
        """They come for as long as the block; those who have come are answered before it ends."""
        enough = asyncio.Event()
        async with asyncio.TaskGroup() as crowd:
            crowd.create_task(self._come(crowd, enough))
            yield
            enough.set()

    async def _come(self, crowd: asyncio.TaskGroup, enough: asyncio.Event) -> None:
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=0)) as session:
            began, number, purchases = time.perf_counter(), 0, list[asyncio.Task[None]]()
            while not enough.is_set():
                number += 1
                await asyncio.sleep(max(0.0, began + number / self.rate - time.perf_counter()))
                purchases.append(crowd.create_task(self._buy(session)))
            await asyncio.wait(purchases)

    async def _buy(self, session: aiohttp.ClientSession) -> None:
        items = [{"product_id": f"p{secrets.randbelow(SPREAD) + 1}", "quantity": 1}]
        body = {"payment_method": _CARD, "customer_email": "a@example.com", "shipping_address": _ADDRESS, "items": items}
        phase, began = self.phase, time.perf_counter()
        url, key = f"http://127.0.0.1:{self.port}/checkout/process", {"Idempotency-Key": uuid.uuid4().hex}
        async with session.post(url, data=json.dumps(body), headers=key) as answer:
            await answer.read()
            self.wrong += answer.status != 200
        self.times.setdefault(phase, []).append((time.perf_counter() - began) * 1000)


async def measure(place: Town, port: int, rabbit: services.OwnRabbit, given: argparse.Namespace) -> bool:
    """Go through the phases, print what was measured; whether every purchase was answered and every delivery made."""
    buyers = Buyers(port, place.token, given.rate)
    db = await Database.connect(place.dsn, size=1)
    behind, took = 0, 0.0
    async with buyers.coming():
        await asyncio.sleep(WARM_S)
        for _ in range(given.rounds):
            buyers.phase = "before"
            await asyncio.sleep(given.calm)
            more, seconds = await _round(db, buyers, rabbit, given.away)
            behind, took = behind + more, took + seconds
            buyers.phase = "pause"
            await asyncio.sleep(2)
        buyers.phase = "afterwards"
        await asyncio.sleep(given.calm)
    await _until_none(db, _OTHERS)
    await db.close()
    return _tell(buyers, behind, took)


async def _round(db: Database, buyers: Buyers, rabbit: services.OwnRabbit, away_s: float) -> tuple[int, float]:
    """Stop the broker and start it again; how much was waiting then, and the seconds until it had gone."""
    await asyncio.to_thread(rabbit.stop)
    buyers.phase = "without it"
    await asyncio.sleep(away_s)
    buyers.phase = "it starts"
    behind, ended = await db.value(_BEHIND), await db.value(_ENDED)
    await asyncio.to_thread(rabbit.start)
    while await db.value(_ENDED) == ended:
        await asyncio.sleep(0.05)
    buyers.phase, began = "draining", time.perf_counter()
    await _until_none(db, _BEHIND)
    return behind, time.perf_counter() - began


async def _until_none(db: Database, sql: str) -> None:
    until = time.monotonic() + PATIENCE_S
    while await db.value(sql):
        if time.monotonic() > until:
            raise RuntimeError("the backlog does not end")
        await asyncio.sleep(0.1)


def _tell(buyers: Buyers, behind: int, took: float) -> bool:
    calm = _share(buyers.times["before"] + buyers.times["afterwards"], 0.99)
    print(f"{behind} deliveries and events were waiting, and gone after {took:.0f} s; each delivery has succeeded")
    for phase in ("before", "without it", "it starts", "draining", "afterwards"):
        times = buyers.times.get(phase, [])
        if times:
            p50, p99 = _share(times, 0.5), _share(times, 0.99)
            print(f"{phase:>11}: {len(times):6} purchases  p50 {p50:6.1f} ms  p99 {p99:6.1f} ms  p99 / calm p99 {p99 / calm:.2f}")
    print(f"{buyers.wrong} purchases were not answered with 200")
    worst = max(_share(buyers.times[phase], 0.99) for phase in ("without it", "draining")) / calm
    print(f"worst of 'without it' and 'draining': {worst:.2f}, must be at most {MUST}{'' if worst <= MUST else '  ABOVE TARGET'}")
    return buyers.wrong == 0


def _share(times: list[float], share: float) -> float:
    return sorted(times)[int(len(times) * share)]


@contextlib.contextmanager
def _deployed(place: Town, url: str, *, dev: bool) -> Iterator[int]:
    """Kassa as it is deployed, or in one process; the port of its HTTP."""
    settings = {"RABBITMQ_URL": url, "ALLOW_PRIVATE_CALLBACKS": "true"}
    if not dev:
        with place.working(settings):
            yield place.port
        return
    port = place.free_port()
    environment = place.environment | settings | {"PRODUCTION": "false", "HTTP_PORT": str(port)}
    process = subprocess.Popen([sys.executable, "-m", "kassa", "dev"], env=environment, stdout=subprocess.DEVNULL)
    try:
        _wait(port)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def _wait(port: int) -> None:
    async def ask() -> None:
        async with aiohttp.ClientSession() as session:
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"http://127.0.0.1:{port}/ready") as answer:
                        if answer.status == 200:
                            return
                await asyncio.sleep(0.1)

    asyncio.run(asyncio.wait_for(ask(), 60))


async def _endpoints(place: Town, port: int) -> None:
    db = await Database.connect(place.dsn, size=1)
    keys = Keys(base64.b64decode(place.environment["KASSA_SECRET"]))
    for _ in range(ENDPOINTS):
        async with db.transaction("endpoint") as tx:
            await add_endpoint(tx, keys, "1", Wish(f"http://127.0.0.1:{port}/hook", events=("*",)))
    await db.close()


def main() -> int:
    """Measure and print; 1 when a purchase failed."""
    parser = argparse.ArgumentParser(prog="python -m bench.outage", description=__doc__)
    parser.add_argument("--rate", type=float, default=20, help="purchases per second (default 20)")
    parser.add_argument("--away", type=float, default=60, help="seconds without the broker (default 60)")
    parser.add_argument("--calm", type=float, default=20, help="seconds before and afterwards (default 20)")
    parser.add_argument("--rounds", type=int, default=1, help="how often it goes away (default 1)")
    parser.add_argument("--dev", action="store_true", help="`kassa dev`, in whose one process all is done")
    given = parser.parse_args()
    rabbit = services.make_rabbitmq()
    rabbit.start()
    with town() as place, contextlib.ExitStack() as stack:
        stack.callback(rabbit.close)
        sink = subprocess.Popen([sys.executable, "-m", "bench.sink", str(port := place.free_port())])
        stack.callback(sink.kill)
        asyncio.run(_endpoints(place, port))
        web = stack.enter_context(_deployed(place, rabbit.url, dev=given.dev))
        return 0 if uvloop.run(measure(place, web, rabbit, given)) else 1


if __name__ == "__main__":
    sys.exit(main())
