"""When something that Kassa needs is missing, or somebody asks too much, it says so and writes nothing."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from tests import rig
from tests.rig import Server

from .journeys import add, anybody, eventually, look, people, refusal, success, visitors, wish
from .tokens import claims, jwt


def test_a_database_that_is_away_is_unavailable_until_it_is_back(
    start_kassa: Callable[..., Server],
) -> None:
    server = start_kassa()
    name = urlsplit(server.dsn).path.lstrip("/")
    elsewhere = rig.with_database(server.dsn, "postgres")
    with people(server) as sign_in:
        buyer = sign_in()
        add(buyer, "prod_001", 2)
        rig.query(elsewhere, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        gone = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1"
        rig.query(elsewhere, gone, name)
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
        rig.query(elsewhere, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        assert eventually(lambda: buyer.get("/ready").status_code == 200, within=15)
        assert (look(buyer)["totalItems"], look(buyer)["version"]) == (2, 1)


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
