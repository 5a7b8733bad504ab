"""A shop whose processes run on many hosts: what they must share, and what happens when one host is cut off or dies.

The hosts are network namespaces (`hosts.py`), the shop is `many.py`.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import queue
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests import rig
from tests.crash import heard, judging
from tests.crash.asking import Ask, insist, speak
from tests.crash.history import History
from tests.crash.merchants import KEY, asks
from tests.crash.stories import Buyer
from tests.ship import hosts
from tests.ship.many import AHEAD_S, HITS_A_MINUTE, Spread, spread, wait_for, wrong_clock

log = logging.getLogger("tests.ship")
"""What was measured: `--log-cli-level=info` shows it."""
_numbers = itertools.count(80_000)
PLENTY = (("prod_005", 1), ("prod_gift", 1))
ENDPOINT = "/api/v1/webhook-endpoints"
NOTICED_S, WELL_AGAIN_S, REST_S, SEEN_S = 5, 10, 40, 5
"""So long a process may take to say that it is cut off, to be well again after it was, all of them to finish what was
begun, and a live page to show what happened."""

NOT_DONE = "payment_not_executed"
"""Told where the host that had the card was cut off before it could charge: nothing was charged, and the order is cancelled."""


@pytest.fixture(scope="module")
def shop() -> Iterator[Spread]:
    if because := hosts.why_not():
        pytest.skip(because)
    with hosts.network() as net, spread(net) as made:
        with made.client.inside():
            url = f"{made.hooks.url}/ok/1"
            ask = Ask("POST", ENDPOINT, {"url": url, "events": ["*"]}, api_key=KEY, once="the-endpoint")
            assert speak(made.apis[0], ask).status == 201
        yield made


@pytest.fixture(autouse=True)
def at_the_client(shop: Spread) -> Iterator[None]:
    """Every test speaks from the client's host."""
    with shop.client.inside():
        yield


def test_a_key_that_is_repeated_at_another_host_gets_the_same_bytes(shop: Spread) -> None:
    one, other = shop.apis
    buyer = Buyer(next(_numbers))
    for ask in (buyer.buys(*PLENTY), buyer.puts("prod_gift", 1), buyer.orders(), asks(buyer)):
        first = insist(one, ask, time.monotonic() + 10)
        again = insist(other, ask, time.monotonic() + 10)
        assert first.status in {200, 201}, first.raw
        assert (again.status, again.raw, again.replayed) == (first.status, first.raw, True)


def test_a_live_page_at_one_host_shows_what_happens_at_another(shop: Spread) -> None:
    """Nobody needs to come back to the host that he came from."""
    one, other = shop.apis
    buyer = Buyer(next(_numbers))
    assert insist(one, buyer.puts("prod_gift", 1), time.monotonic() + 10).status == 201
    order = insist(one, buyer.orders(), time.monotonic() + 10).json["data"]["id"]
    came: queue.Queue[str] = queue.Queue()
    with other.client(buyer.user).stream("GET", f"/api/orders/{order}/events", timeout=20) as stream:
        reading = threading.Thread(target=_read, args=(stream, came))
        reading.start()
        wait_for(lambda: _status(other, buyer, order) == "paid", 10, "the order is not paid")
        for status in ("processing", "shipped"):
            assert insist(one, buyer.moves(order, status, "staff"), time.monotonic() + 10).status == 200
            while f'"{status}"' not in came.get(timeout=SEEN_S):
                pass
    reading.join(10)
    assert not reading.is_alive()


def test_a_limit_counts_over_all_hosts(shop: Spread) -> None:
    """Asked of both in turn, one caller gets what the limit says, and not twice as much.

    A Redis that does not answer within 50 ms is not waited for, and on a busy machine that happens: then another caller tries it.
    """

    def passed() -> int:
        user = next(_numbers)
        lines = [each.client(user) for each in shop.apis]
        said = [lines[number % 2].get("/api/cart").status_code for number in range(HITS_A_MINUTE + 100)]
        assert set(said) <= {200, 429}
        return said.count(200)

    wait_for(lambda: passed() == HITS_A_MINUTE, 50, "each host counts for itself")


def test_one_api_is_cut_off_and_a_worker_dies_while_people_buy(shop: Spread) -> None:
    """The other hosts go on; what was acknowledged is there once, what was under way is finished, and everything is told in order."""
    cut_off, other = shop.apis
    figures: dict[str, object] = {}
    with shop.crowd(6) as crowd, _service(shop) as paid:
        time.sleep(2)
        cut_off.host.cut(shop.db)
        figures["noticed after, s"] = wait_for(lambda: not rig.answers(cut_off.ready), NOTICED_S, "it takes itself for ready")
        before = crowd.bought
        shop.workers[0].host.kill()
        time.sleep(3)
        figures["bought meanwhile"] = crowd.bought - before
        assert _answers_503(cut_off)
        assert rig.answers(other.ready)
        cut_off.host.mend(shop.db)
        figures["well again after, s"] = wait_for(lambda: rig.answers(cut_off.ready), WELL_AGAIN_S, "it is not ready again")
        shop.workers[0].kill()
        shop.workers[0].start()
        shop.redis.host.pull_the_plug()
        before = crowd.bought
        time.sleep(1.5)
        figures["bought without Redis"] = crowd.bought - before
        shop.redis.host.put_the_plug_in()
        crowd.go_home()
    figures |= {"bought": crowd.bought, "asked for over gRPC": len(paid), "heard": dict(crowd.heard)}
    log.info("%s", figures)
    assert [each for each in crowd.trouble if NOT_DONE not in each] == []
    assert figures["bought meanwhile"]
    assert figures["bought without Redis"]
    assert paid
    assert all(each["same"] for each in paid)
    assert judge(shop, crowd.history) == []
    for ask, said in random.Random(1).sample([each for each in crowd.told if each[1].status < 400], 20):
        assert {insist(each, ask, time.monotonic() + 5).raw for each in shop.apis} == {said.raw}
    asked = other.sql("SELECT payment_id::text AS id, client_key FROM payments WHERE client_key IS NOT NULL")
    assert {(row["client_key"], row["id"]) for row in asked} >= {(each["key"], each["id"]) for each in paid}


def test_a_worker_whose_clock_is_an_hour_ahead_does_its_work_and_takes_nobodys(shop: Spread) -> None:
    """Leases and deadlines are the database's. What a process signs by its own clock is an hour off, which merchants may refuse."""
    if wrong_clock() is None:
        pytest.skip("a wrong clock needs libfaketime (package libfaketime)")
    one = shop.apis[0]
    shop.sandbox.script("payment", "process", "late", seconds=2)
    slow = Buyer(next(_numbers))
    assert speak(one, slow.buys(*PLENTY)).status == 200, "whoever began it has finished it"
    told: set[int] = set()

    def both_have_told() -> bool:
        assert insist(one, Buyer(next(_numbers)).buys(*PLENTY), time.monotonic() + 10).status == 200
        told.update(round((int(each.timestamp) - time.time()) / AHEAD_S) for each in shop.hooks.heard[-20:])
        return told == {0, 1}

    wait_for(both_have_told, 20, "one of the workers tells nobody anything")
    assert judge(shop) == []


# ── what they have in common ─────────────────────────────────────────────────────────────────────────────────────────


def judge(shop: Spread, history: History | None = None) -> list[str]:
    """What is wrong once all is at rest: in the books, in the neighbours' book, and in what the merchant heard."""
    one = shop.apis[0]
    wait_for(lambda: judging.is_at_rest(one), REST_S, "something still moves")
    books = judging.Books(shop.sandbox)
    wrong = [*books.faults, *judging.levels(one), *judging.collected(one, books), *judging.breaches(shop.dsn, shop.sandbox)]
    for rows in judging.checkouts_of(one).values():
        wrong += [f"{row['checkout_id']}: {each}" for row in rows for each in books.judge(row)]
    wrong += heard.judge(one, shop.hooks)
    wrong += history.judge(one) if history else []
    done = shop.runs("verify")
    wrong += [] if done.returncode == 0 else [f"kassa verify: {done.stdout} {done.stderr}"]
    return wrong + [f"a traceback on {each.host.name}" for each in shop.everybody if "Traceback" in each.log_text()]


@contextlib.contextmanager
def _service(shop: Spread) -> Iterator[list[dict[str, Any]]]:
    """Another service that asks for payments over gRPC for the length of the block; afterwards the list has what it was told."""
    program = [sys.executable, str(Path(__file__).with_name("paying.py")), shop.rpc[0].grpc]
    environment = rig.clean_environment(API_KEY=KEY)
    told: list[dict[str, Any]] = []
    with subprocess.Popen(
        shop.client.command(program), env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            yield told
        finally:
            out, err = process.communicate(timeout=40)
    assert process.returncode == 0, err.decode()
    told += map(json.loads, out.splitlines())


def _answers_503(server: rig.Server) -> bool:
    return speak(server, Buyer(next(_numbers)).buys(*PLENTY), 10).status == 503


def _status(server: rig.Server, buyer: Buyer, order: str) -> str:
    return str(speak(server, Ask("GET", f"/api/orders/{order}", user=buyer.user)).json["data"]["status"])


def _read(stream: httpx2.Response, came: queue.Queue[str]) -> None:
    for line in stream.iter_lines():
        came.put(line)
        if '"shipped"' in line:
            return
