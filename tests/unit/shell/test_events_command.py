"""`kassa events`: tell a story, follow what happens, send again."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from tests import factories, rig
from tests.factories import ScriptedLinks, Till, open_till, world
from tests.unit.shell.processes import refused, run

from kassa import merchants, webhooks
from kassa.events import FanOut
from kassa.kit.database import Database
from kassa.payments import Payment, Refund
from kassa.webhooks import DELIVERY_MADE, Endpoint, Wish

T = TypeVar("T")
NOWHERE = "019b76da-a801-7d90-a2b6-4c7f1e3d5b62"
SECRET = base64.b64encode(factories.SECRET).decode()
"""That of the merchants to whom something happened before."""


class Counter:
    """A database, and what an operator types in front of it."""

    def __init__(self, dsn: str, home: Path) -> None:
        self.dsn, self.home = dsn, home

    def play(self, story: Callable[[Till], Awaitable[T]]) -> T:
        """Let something happen at a new merchant's."""

        async def go() -> T:
            db = await Database.connect(self.dsn, size=4)
            db.ports[FanOut] = FanOut((DELIVERY_MADE,))
            till = await open_till(world(db, providers=[ScriptedLinks()]), mouse=10)
            try:
                return await story(till)
            finally:
                await till.rest()
                await db.close()

        return rig.run_alone(go)

    def type(self, *words: str) -> Any:
        """What a command says with --json."""
        done = run(self.home, "events", *words, "--json", DATABASE_URL=self.dsn, KASSA_SECRET=SECRET)
        assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
        return json.loads(done.stdout)

    def no(self, *words: str) -> str:
        return refused(run(self.home, "events", *words, DATABASE_URL=self.dsn, KASSA_SECRET=SECRET))


@pytest.fixture(scope="module")
def dsn(database_server: rig.DatabaseServer) -> str:
    return database_server.fresh()


@pytest.fixture
def counter(dsn: str, short_home: Path) -> Counter:
    return Counter(dsn, short_home)


async def endpoint(till: Till, *events: str) -> Endpoint:
    async with till.db.transaction("endpoint") as tx:
        await merchants.add_merchant(tx, till.merchant_id, "A merchant", "owner@example.com", "INR")
        made, _ = await webhooks.add_endpoint(tx, till.ctx.keys, till.merchant_id, Wish("https://shop.example/h?t=secret", events))
    return made


async def given_back(till: Till) -> tuple[Payment, Refund]:
    payment = await till.paid("A-1")
    return payment, await till.given_back(payment, 2_500)


async def missed(till: Till) -> tuple[Payment, Endpoint]:
    """A payment of whose events a merchant was told two in vain."""
    made = await endpoint(till, "payment.waiting", "payment.paid")
    payment = await till.paid("A-1")
    await till.db.execute(
        """
        UPDATE deliveries SET status = 'failed', attempts = 10, tries = 10, next_at = NULL, ended_at = kassa_now()
         WHERE merchant_id = $1
        """,
        till.merchant_id,
    )
    return payment, made


# ── show ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_story_is_told_whichever_id_one_has(counter: Counter) -> None:
    payment, refund = counter.play(given_back)
    told = counter.type("show", str(payment.payment_id))
    assert (told["merchant_id"], told["payment_ids"], told["order_id"]) == (payment.merchant_id, [str(payment.payment_id)], None)
    assert [(entry["number"], entry["title"]) for entry in told["entries"]] == [
        (1, "100.00 INR was asked for"),
        (2, "The buyer can pay at the provider"),
        (3, "100.00 INR was paid"),
        (4, "25.00 INR is to be given back"),
        (5, "25.00 INR was given back"),
    ]
    assert set(told["entries"][0]) == {"number", "at", "kind", "title", "subject", "sequence", "details"}
    assert counter.type("show", str(refund.refund_id)) == told
    assert counter.type("show", str(payment.payment_id), "--merchant", payment.merchant_id) == told


def test_people_get_a_table(counter: Counter) -> None:
    payment, _ = counter.play(missed)
    done = run(counter.home, "events", "show", str(payment.payment_id), DATABASE_URL=counter.dsn)
    assert done.returncode == 0, done.stderr
    assert str(payment.payment_id) in done.stdout
    line = next(line for line in done.stdout.splitlines() if "payment.paid could not be delivered" in line)
    assert line.split()[0] == "5"
    assert "attempts made: 10" in line
    assert "secret" not in done.stdout


def test_what_is_not_there_has_no_story(counter: Counter) -> None:
    payment, _ = counter.play(given_back)
    assert counter.no("show", NOWHERE) == "there is no order, payment, checkout or refund with this id"
    assert counter.no("show", str(payment.payment_id), "--merchant", "nobody").endswith("of merchant nobody with this id")
    assert counter.no("show", "A-1").startswith("ID must be an id")


# ── tail ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Tail:
    """A running `kassa events tail`, and what it has said so far."""

    def __init__(self, counter: Counter, *words: str) -> None:
        environment = rig.clean_environment(KASSA_HOME=str(counter.home), DATABASE_URL=counter.dsn)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kassa", "events", "tail", *words],
            env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.said: list[str] = []
        assert self.process.stderr is not None
        assert "following events" in self.process.stderr.readline()
        self.reader = threading.Thread(target=self._listen, daemon=True)
        self.reader.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line.rstrip("\n"))

    def waits_for(self, count: int) -> list[str]:
        deadline = time.monotonic() + 40
        while len(self.said) < count:
            assert time.monotonic() < deadline, self.said
            time.sleep(0.02)
        return self.said

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(40)
        self.reader.join(5)
        return code


@pytest.fixture
def follow(counter: Counter) -> Iterator[Callable[..., Tail]]:
    begun: list[Tail] = []

    def begin(*words: str) -> Tail:
        begun.append(Tail(counter, *words))
        return begun[-1]

    yield begin
    for each in begun:
        each.process.kill()
        each.process.wait()
        for pipe in (each.process.stdout, each.process.stderr):
            assert pipe is not None
            each.reader.join(5)
            pipe.close()


def test_events_are_followed_until_ctrl_c(counter: Counter, follow: Callable[..., Tail]) -> None:
    counter.play(given_back)
    everybody, refunds = follow("--json"), follow("--type", "refund.*")
    payment, refund = counter.play(given_back)
    told = [json.loads(line) for line in everybody.waits_for(5)]
    assert [(each["type"], each["sequence"]) for each in told] == [
        ("payment.created", 1), ("payment.waiting", 2), ("payment.paid", 3), ("refund.created", 4), ("refund.succeeded", 5),
    ]  # fmt: skip
    assert {(each["merchant_id"], each["subject"]) for each in told} == {(payment.merchant_id, f"payment:{payment.payment_id}")}
    assert told[4]["data"]["refund"]["refund_id"] == str(refund.refund_id)
    lines = refunds.waits_for(2)
    assert ["refund.created" in lines[0], "refund.succeeded" in lines[1]] == [True, True]
    assert f"payment:{payment.payment_id} #5" in lines[1]
    assert [everybody.stop(), refunds.stop()] == [130, 130]
    assert (len(everybody.said), len(refunds.said)) == (5, 2)


def test_one_subject_of_one_merchant_is_followed(counter: Counter, follow: Callable[..., Tail]) -> None:
    payment, _ = counter.play(given_back)
    tail = follow("--json", "--merchant", payment.merchant_id, "--subject", str(payment.payment_id), "--subject", "order:x")
    counter.play(given_back)

    async def more(till: Till) -> None:
        channel = replace(till.shop.channel, merchant_id=payment.merchant_id)
        await Till(replace(till.shop, channel=channel)).given_back(payment, 100)

    counter.play(more)
    told = [json.loads(line) for line in tail.waits_for(2)]
    assert [(each["type"], each["sequence"]) for each in told] == [("refund.created", 6), ("refund.succeeded", 7)]


def test_a_reader_who_has_seen_enough_ends_it(counter: Counter) -> None:
    tail = subprocess.Popen(
        [sys.executable, "-m", "kassa", "events", "tail", "--json"],
        env=rig.clean_environment(KASSA_HOME=str(counter.home), DATABASE_URL=counter.dsn),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert tail.stderr is not None
        assert tail.stdout is not None
        assert "following events" in tail.stderr.readline()
        tail.stdout.close()
        counter.play(given_back)
        assert (tail.wait(40), tail.stderr.read()) == (0, "")
    finally:
        tail.kill()
        tail.wait()
        assert tail.stderr is not None
        tail.stderr.close()


def test_a_type_that_nobody_knows_is_refused(counter: Counter) -> None:
    assert counter.no("tail", "--type", "payment.lost").startswith("--type payment.lost is no type")


# ── replay ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def states(counter: Counter, endpoint_id: uuid.UUID) -> list[tuple[str, str, bool]]:
    rows = rig.query(
        counter.dsn, "SELECT event_type, status, replayed FROM deliveries WHERE endpoint_id = $1 ORDER BY sequence", endpoint_id
    )
    return [(row["event_type"], row["status"], row["replayed"]) for row in rows]


def test_one_delivery_is_sent_again(counter: Counter) -> None:
    payment, made = counter.play(missed)
    story = counter.type("show", str(payment.payment_id))["entries"]
    paid = next(entry["details"] for entry in story if entry["details"].get("event_type") == "payment.paid")
    for wanted in (paid["delivery_id"], paid["event_id"]):
        [again] = counter.type("replay", wanted)["deliveries"]
        assert (again["delivery_id"], again["merchant_id"], again["after"]) == (paid["delivery_id"], payment.merchant_id, "pending")
    assert states(counter, made.endpoint_id) == [("payment.waiting", "failed", False), ("payment.paid", "pending", True)]


def test_all_that_an_endpoint_missed_is_sent_again(counter: Counter) -> None:
    _, made = counter.play(missed)
    assert counter.type("replay", "--endpoint", str(made.endpoint_id), "--until", "2020-01-31") == {"replayed": 0}
    assert counter.type("replay", "--endpoint", str(made.endpoint_id), "--since", "2020-01-31") == {"replayed": 2}
    assert states(counter, made.endpoint_id) == [("payment.waiting", "pending", True), ("payment.paid", "pending", True)]
    done = run(counter.home, "events", "replay", "--endpoint", str(made.endpoint_id), DATABASE_URL=counter.dsn)
    assert done.stdout == "0 deliveries are sent again\n"


def test_what_cannot_be_sent_again_is_said(counter: Counter) -> None:
    payment, made = counter.play(missed)
    [event] = rig.query(
        counter.dsn, "SELECT event_id FROM events WHERE subject = $1 AND type = 'payment.created'", f"payment:{payment.payment_id}"
    )
    assert counter.no("replay", str(event["event_id"])) == "no endpoint was to be told of this event"
    assert counter.no("replay", NOWHERE) == "there is no such delivery or event"
    assert counter.no("replay", "--endpoint", NOWHERE).startswith("there is no such endpoint")
    assert counter.no("replay").startswith("name a delivery or an event")
    assert counter.no("replay", NOWHERE, "--endpoint", NOWHERE).startswith("name a delivery or an event")
    assert counter.no("replay", NOWHERE, "--since", "2020-01-31").endswith("go with --endpoint")
    assert counter.no("replay", "--endpoint", NOWHERE, "--status", "lost") == "--status must be failed or success"
    assert counter.no("replay", "--endpoint", NOWHERE, "--since", "soon").startswith("--since must be a day")
    turned = ("--since", "2020-02-01", "--until", "2020-01-01")
    assert counter.no("replay", "--endpoint", NOWHERE, *turned) == "--since is not before --until"

    async def disable(till: Till) -> None:
        async with till.db.transaction("disable") as tx:
            await webhooks.disable_endpoint(tx, payment.merchant_id, made.endpoint_id)

    counter.play(disable)
    assert counter.no("replay", "--endpoint", str(made.endpoint_id)) == "The endpoint is disabled"
