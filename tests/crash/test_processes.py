"""Processes that are killed, frozen or cut off from their database while people buy (F35, F56, F79)."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable

from tests import rig

from . import judging
from .asking import insist, speak
from .crowd import Crowd
from .playing import LEASE_S, WITHIN_S, Town
from .stories import Buyer

OpenTown = Callable[..., Town]
SERVICES = ("payment", "inventory", "order")


def settled(town: Town, server: rig.Server, crowd: Crowd, within_s: float = 3 * WITHIN_S) -> None:
    """Wait for rest, then look at everything: nobody was told anything that is not so."""
    until = time.monotonic() + within_s
    # A charge that its process could not send any more is refused: the card is gone with the process.
    crowd.trouble = [each for each in crowd.trouble if "payment_not_executed" not in each]
    crowd.told = [(ask, said) for ask, said in crowd.told if said.status != 422]
    while not judging.is_at_rest(server):
        assert time.monotonic() < until, server.sql(
            "SELECT status, next_at, lease_until, kassa_now() FROM checkouts WHERE ended_at IS NULL"
        )
        time.sleep(0.1)
    books = judging.Books(town.sandbox)
    wrong = [
        *crowd.trouble,
        *crowd.history.judge(server),
        *books.faults,
        *judging.levels(server),
        *judging.breaches(town.dsn, town.sandbox),
    ]
    found = judging.checkouts_of(server)
    for rows in found.values():
        wrong += [f"{row['checkout_id']}: {each}" for row in rows for each in books.judge(row)]
    assert wrong == []
    sample = random.Random(1).sample(crowd.told, min(20, len(crowd.told)))
    again = [insist(server, ask, time.monotonic() + 5).raw == said.raw for ask, said in sample]
    assert all(again), "a repeat was answered otherwise"


def test_killed_three_times_under_twenty_buyers(open_town: OpenTown) -> None:
    """Whoever was told of a purchase has it, once, and everybody is told in the end."""
    town = open_town(*SERVICES)
    server = town.born("dev")
    with Crowd([server]) as crowd:
        for _ in range(3):
            time.sleep(1.5)
            server.kill()
            server.start()
        wait_until(lambda: crowd.bought > 40, 60)
        crowd.go_home()
    settled(town, server, crowd, within_s=60)


def test_a_leader_that_sleeps_past_its_lease_charges_once(open_town: OpenTown) -> None:
    """It is frozen while the payment service thinks; another process takes over; awake again it changes nothing."""
    town = open_town(*SERVICES)
    assert town.sandbox is not None
    town.sandbox.script("payment", "process", "late", seconds=1)
    sleeper, heir = town.born("serve"), town.born("dev")
    buyer = Buyer(1)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(speak(sleeper, buyer.buys(), 30)))
    thread.start()
    wait_until(lambda: bool(town.sandbox and town.sandbox.book(only="calls")["calls"]), 5)
    sleeper.process.send_signal(signal.SIGSTOP)  # type: ignore[union-attr]
    try:
        wait_until(lambda: town.ask("SELECT status FROM checkouts") == [{"status": "completed"}], LEASE_S + 5)
    finally:
        sleeper.process.send_signal(signal.SIGCONT)  # type: ignore[union-attr]
    thread.join()
    again = insist(heir, buyer.buys(), time.monotonic() + 5)
    assert (answers[0].status, again.status) == (200, 200)
    assert answers[0].json == again.json
    books = judging.Books(town.sandbox)
    rows = judging.checkouts_of(heir)[buyer.key("checkout")]
    assert [books.judge(row) for row in rows] == [[]]
    assert books.faults + judging.levels(heir) + judging.breaches(town.dsn, town.sandbox) == []


def test_leaders_frozen_again_and_again_under_load(open_town: OpenTown) -> None:
    """Two processes share the buyers; one of them is frozen for longer than its lease, three times."""
    town = open_town(*SERVICES)
    first, second = town.born("dev"), town.born("dev")
    with Crowd([first, second], size=10) as crowd:
        for frozen in (first, second, first):
            time.sleep(0.7)
            frozen.process.send_signal(signal.SIGSTOP)  # type: ignore[union-attr]
            time.sleep(LEASE_S + 1.5)
            frozen.process.send_signal(signal.SIGCONT)  # type: ignore[union-attr]
        time.sleep(1)
        crowd.go_home()
    settled(town, second, crowd)


def test_connections_to_the_database_are_cut_under_load(open_town: OpenTown) -> None:
    """Five a second, at random. Clients see success, or a 5xx or 409 that is safe to ask again; nothing is done twice."""
    town = open_town()
    server = town.born("dev")
    cut = """
        SELECT count(pg_terminate_backend(pid))::int AS n FROM (
            SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'kassa' ORDER BY random() LIMIT 1) AS one
    """
    with Crowd([server]) as crowd:
        cuts = 0
        until = time.monotonic() + 6
        while time.monotonic() < until:
            cuts += town.ask(cut)[0]["n"]
            time.sleep(0.2)
        time.sleep(1)
        crowd.go_home()
    assert cuts >= 15
    assert set(crowd.heard) <= {200, 201, 202, 409, 500, 503}, crowd.heard
    settled(town, server, crowd, within_s=60)
    failed = sum(crowd.heard[status] for status in (0, 500, 503))
    assert failed <= 2 * cuts, crowd.heard


def wait_until(true: Callable[[], bool], within_s: float) -> None:
    """Wait until it is true."""
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)
