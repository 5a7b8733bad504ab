"""Two processes on one database are one shop: whichever of them one talks to."""

from __future__ import annotations

import base64
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx2
import pytest
from tests.rig import Server

from .journeys import Json, a_key, add, anybody, buy_for_cash, look, moved, orders_of, read, success, visitors, wish
from .test_events import listening

Pair = tuple[httpx2.Client, httpx2.Client]
SECRET = base64.b64encode(bytes(range(32))).decode()


@pytest.fixture(scope="module")
def both(start_kassa: Callable[..., Server]) -> tuple[Server, Server]:
    first = start_kassa(KASSA_SECRET=SECRET)
    return first, start_kassa(database=first.dsn, KASSA_SECRET=SECRET)


@pytest.fixture
def sign_in(both: tuple[Server, Server]) -> Iterator[Callable[..., Pair]]:
    """The same person at both doors."""
    with ExitStack() as open_doors:
        here, there = (open_doors.enter_context(visitors(server)) for server in both)

        def sign_in(role: str | None = None) -> Pair:
            token = both[0].token(anybody(), role)
            return here(token), there(token)

        yield sign_in


def test_what_one_wrote_the_other_reads_at_once(sign_in: Callable[..., Pair]) -> None:
    here, there = sign_in()
    for n in range(1, 6):
        add((here, there)[n % 2], "prod_001")
        assert look((there, here)[n % 2])["totalItems"] == n
    assert read(there, buy_for_cash(here)["id"])["status"] == "processing"


def test_twenty_posts_at_two_doors_are_one_order(sign_in: Callable[..., Pair]) -> None:
    doors = sign_in()
    add(doors[0], "prod_001", 2)

    def post(n: int) -> httpx2.Response:
        return doors[n % 2].post("/api/orders", json=wish(), headers={"Idempotency-Key": a_key()})

    with ThreadPoolExecutor(20) as hands:
        answers = list(hands.map(post, range(20)))
    assert Counter(answer.status_code for answer in answers) == {201: 1, 200: 19}
    assert len({answer.json()["data"]["id"] for answer in answers}) == 1
    assert orders_of(doors[0])["total"] == 1


def test_a_key_is_known_at_both_doors(sign_in: Callable[..., Pair]) -> None:
    here, there = sign_in()
    key, body = {"Idempotency-Key": a_key()}, {"productId": "prod_001", "quantity": 2}
    first = here.post("/api/cart/items", json=body, headers=key)
    again = there.post("/api/cart/items", json=body, headers=key)
    assert success(first, 201) == success(again, 201)
    assert (again.content, again.headers["Idempotent-Replayed"]) == (first.content, "true")
    assert look(here)["totalItems"] == 2


def test_a_move_at_one_door_is_seen_live_at_the_other(sign_in: Callable[..., Pair]) -> None:
    here, there = sign_in()
    staff = sign_in("staff")[0]
    order = buy_for_cash(here)["id"]
    with listening(there, order) as stream:
        seen: Json = next(stream)
        began = time.monotonic()
        moved(staff, order, "shipped")
        message = next(stream)
        assert time.monotonic() - began < 2
    assert (message["status"], message["sequence"]) == ("shipped", seen["sequence"] + 1)
