"""When something that Kassa needs is missing, or somebody asks too much, it says so and writes nothing."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx2
from tests import rig
from tests.rig import Server

from .journeys import add, anybody, eventually, look, people, refusal, success, visitors, wish
from .tokens import claims, jwt


@contextmanager
def without_its_database(server: Server) -> Iterator[None]:
    """Cut every connection to the database of a server and let nobody in, until the block ends."""
    name = urlsplit(server.dsn).path.lstrip("/")
    elsewhere = rig.with_database(server.dsn, "postgres")
    rig.query(elsewhere, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
    rig.query(elsewhere, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
    try:
        yield
    finally:
        rig.query(elsewhere, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')


def test_a_database_that_is_away_is_unavailable_until_it_is_back(start_kassa: Callable[..., Server]) -> None:
    server = start_kassa()
    with people(server) as sign_in:
        buyer = sign_in()
        add(buyer, "prod_001", 2)
        with without_its_database(server):
            assert eventually(lambda: buyer.get("/ready").status_code == 503)
            ready = buyer.get("/ready")
            assert ready.json() == {"message": "not ready", "code": "unavailable"}
            assert int(ready.headers["Retry-After"]) >= 1
            assert buyer.get("/health").json() == {"message": "ok", "status": "ok"}
            for answer in (
                buyer.get("/api/cart"),
                buyer.get("/api/products/prod_001"),
                buyer.post("/api/cart/items", json={"productId": "prod_001"}),
                buyer.post("/api/orders", json=wish()),
            ):
                refusal(answer, 503, "unavailable")
                assert int(answer.headers["Retry-After"]) >= 1
        assert eventually(lambda: buyer.get("/ready").status_code == 200, within=15)
        assert (look(buyer)["totalItems"], look(buyer)["version"]) == (2, 1)


def outcome(answer: httpx2.Response) -> str:
    """What a buyer knows afterwards. A connection that breaks at the very commit leaves nobody the wiser, and must say so."""
    if answer.status_code == 201:
        return "written"
    if answer.status_code == 500 and "read again" in answer.json()["message"]:
        return "unknown"
    refusal(answer, 503, "unavailable")
    return "not written"


def test_while_the_database_goes_away_every_answer_is_true(start_kassa: Callable[..., Server]) -> None:
    """Buyers click on while it disappears and comes back: a yes was written, a 503 was not."""
    server = start_kassa()
    with people(server) as sign_in, ThreadPoolExecutor(8) as hands:
        buyers = [sign_in() for _ in range(8)]
        over = threading.Event()

        def click(buyer: httpx2.Client) -> Counter[str]:
            seen: Counter[str] = Counter()
            while not over.is_set():
                seen[outcome(buyer.post("/api/cart/items", json={"productId": "prod_gift"}))] += 1
                time.sleep(0.01)  # a quick finger, not a flood: a line has room for 999
            return seen

        def ready() -> bool:
            return httpx2.get(f"{server.url}/ready", trust_env=False, verify=False).status_code == 200

        clicking = [hands.submit(click, buyer) for buyer in buyers]
        try:
            for _ in range(3):
                time.sleep(0.1)  # let them click
                with without_its_database(server):
                    assert eventually(lambda: not ready())
                assert eventually(ready, within=15)
        finally:
            over.set()
        for buyer, clicks in zip(buyers, clicking, strict=True):
            seen = clicks.result()
            assert seen["written"] <= look(buyer)["totalItems"] <= seen["written"] + seen["unknown"]


def test_strangers_tokens_and_hasty_callers_are_turned_away(start_kassa: Callable[..., Server]) -> None:
    issuer, audience = "https://id.example.com", "kassa"
    server = start_kassa(RATE_LIMIT="5/second", JWT_ISSUER=issuer, JWT_AUDIENCE=audience)
    known = {"iss": issuer, "aud": audience}
    with visitors(server) as visit:
        eager, calm = (visit(jwt(claims(id=anybody(), **known), server.secret)) for _ in range(2))
        answers = [eager.get("/api/cart") for _ in range(30)]
        allowed = [answer for answer in answers if answer.status_code == 200]
        waiting = [answer for answer in answers if answer.status_code != 200]
        assert len(allowed) >= 5
        assert waiting
        for answer in waiting:
            refusal(answer, 429, "rate_limited")
            assert int(answer.headers["Retry-After"]) >= 1
            assert answer.headers["X-Request-Id"]
        success(calm.get("/api/cart"))
        assert all(eager.get("/health").status_code == 200 for _ in range(20))

        for wrong in ({}, {"iss": issuer}, {"aud": audience}, {**known, "iss": "https://x.example"}):
            answer = visit(jwt(claims(id=anybody(), **wrong), server.secret)).get("/api/cart")
            refusal(answer, 401, "unauthorized")
