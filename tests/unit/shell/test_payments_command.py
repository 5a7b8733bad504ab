"""`kassa payments`: look, find out, give back, close; the state is shown before and after."""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from tests import factories, rig
from tests.conftest import StartKassa, StartSandbox
from tests.factories import Shop, open_shop, open_world
from tests.unit.shell.processes import refused, run

from kassa import cases, payments
from kassa.kit.ids import new_id
from kassa.kit.money import Money
from kassa.payments import Verdict
from kassa.payments.model import RefundVerdict

T = TypeVar("T")
NOWHERE = "019b76da-a801-7d90-a2b6-4c7f1e3d5b62"
SECRET = base64.b64encode(factories.SECRET).decode()
"""That of the shops in which something happened before."""


class Counter:
    """A database, and what an operator types in front of it."""

    def __init__(self, dsn: str, home: Path) -> None:
        self.dsn, self.home = dsn, home

    def play(self, story: Callable[[Shop], Awaitable[T]], **world: Any) -> T:
        """Let something happen in a new shop."""

        async def go() -> T:
            async with open_world(self.dsn, size=4, **world) as ctx:
                return await story(await open_shop(ctx, mouse=10))

        return rig.run_alone(go)

    def type(self, *words: str, code: int = 0, **settings: str) -> Any:
        """What a command says with --json."""
        done = run(self.home, "payments", *words, "--json", **{"DATABASE_URL": self.dsn, "KASSA_SECRET": SECRET, **settings})
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return json.loads(done.stdout)

    def no(self, *words: str, **settings: str) -> str:
        return refused(run(self.home, "payments", *words, **{"DATABASE_URL": self.dsn, "KASSA_SECRET": SECRET, **settings}))


@pytest.fixture(scope="module")
def dsn(database_server: rig.DatabaseServer) -> str:
    return database_server.fresh()


@pytest.fixture
def counter(dsn: str, short_home: Path) -> Counter:
    return Counter(dsn, short_home)


async def a_paid_one(shop: Shop) -> payments.Payment:
    return await factories.paid_payment(shop, provider="simulated")


async def a_parked_one(shop: Shop) -> payments.Payment:
    opened = await factories.open_payment(shop)
    unknown = (await factories.settle(shop, opened, "unknown")).payment
    return (await factories.settle(shop, unknown, Verdict("parked", message="cannot be asked"))).payment


def test_payments_are_listed_by_what_is_asked_for(counter: Counter) -> None:
    paid, parked = counter.play(a_paid_one), counter.play(a_parked_one)
    found = counter.type("list", "--merchant", paid.merchant_id)["payments"]
    assert [(row["payment_id"], row["sum"], row["status"]) for row in found] == [(str(paid.payment_id), "100.00 INR", "paid")]
    assert str(parked.payment_id) in {row["payment_id"] for row in counter.type("list", "--status", "parked")["payments"]}
    assert counter.type("list", "--provider", "nobody")["payments"] == []
    assert len(counter.type("list", "--limit", "1")["payments"]) == 1
    assert counter.no("list", "--status", "lost").startswith("--status must be one of")
    done = run(counter.home, "payments", "list", DATABASE_URL=counter.dsn)
    assert "100.00 INR" in done.stdout


def test_one_screen_tells_all_about_a_payment(counter: Counter) -> None:
    async def story(shop: Shop) -> tuple[payments.Payment, payments.Refund]:
        paid = await a_paid_one(shop)
        async with shop.db.transaction("refund") as tx:
            payment, refund = await payments.begin_refund(tx, paid, owed=False, reason="damaged", amount=Money(1_000, "INR"))
            await payments.conclude_refund(tx, payment, refund, RefundVerdict("succeeded"))
        await cases.open_case(shop.db, shop.merchant_id, "amount_mismatch", f"payment:{paid.payment_id}", last_answer="[/red] 1")
        return paid, refund

    payment, refund = counter.play(story)
    found = counter.type("show", str(payment.payment_id))
    assert (found["payment"]["status"], found["payment"]["refunded"]) == ("paid", "10.00 INR")
    assert [line["what"] for line in found["timeline"]] == ["Payment created", "Payment paid", "Refund succeeded"]
    assert found["refunds"][0]["refund_id"] == str(refund.refund_id)
    assert [(line["entry"], line["sum"]) for line in found["ledger"]][:2] == [("capture", "100.00 INR"), ("capture", "-100.00 INR")]
    assert found["cases"][0]["kind"] == "amount_mismatch"
    done = run(counter.home, "payments", "show", str(payment.payment_id), DATABASE_URL=counter.dsn)
    assert done.returncode == 0, done.stderr
    assert "[/red] 1" in done.stdout
    assert counter.no("show", NOWHERE) == "Payment not found"


def test_the_work_list_says_what_to_type(database_server: rig.DatabaseServer, short_home: Path) -> None:
    counter = Counter(database_server.fresh(), short_home)
    assert "Nothing is in doubt" in run(short_home, "payments", "doubt", DATABASE_URL=counter.dsn).stdout

    async def story(shop: Shop) -> tuple[payments.Payment, payments.Refund, uuid.UUID]:
        from kassa import checkout, collect

        parked, paid = await a_parked_one(shop), await a_paid_one(shop)
        async with shop.db.transaction("refund") as tx:
            payment, refund = await payments.begin_refund(tx, paid, owed=True, reason=None)
            await checkout.note_refund(tx, payment, refund, RefundVerdict("impossible", message="answered 404"))
        await cases.open_case(shop.db, shop.merchant_id, "amount_mismatch", f"payment:{paid.payment_id}")
        await cases.open_case(shop.db, shop.merchant_id, "undo_stuck", f"checkout:{new_id()}", act="inventory")
        unknown = new_id()
        await collect.take_report(shop.ctx, collect.Report(unknown, "finished"))
        return parked, refund, unknown

    parked, refund, unknown = counter.play(story)
    found = counter.type("doubt")["doubt"]
    assert [(item["what"], item["next_step"].rpartition(" --reason")[0] or item["next_step"]) for item in found[:3]] == [
        ("parked payment", f"kassa payments resolve {parked.payment_id}"),
        ("parked refund", f"kassa payments refund-done {refund.refund_id}"),
        ("amount_mismatch", f"kassa payments show {refund.payment_id}"),
    ]
    assert [item["what"] for item in found[3:]] == ["undo_stuck", "unmatched report"]
    assert found[4]["subject"] == f"payment:{unknown}"
    assert found[1]["sum"] == "100.00 INR"
    shown = run(short_home, "payments", "doubt", DATABASE_URL=counter.dsn).stdout
    assert f"  kassa payments resolve {parked.payment_id}\n" in shown


def test_a_persons_word_needs_a_reason_and_ends_the_doubt(counter: Counter) -> None:
    payment = counter.play(a_parked_one)
    wanted = str(payment.payment_id)
    assert counter.no("resolve", wanted, "--paid").startswith("--paid needs --reason")
    assert counter.no("resolve", wanted, "--paid", "--declined", "--reason", "x").startswith("--paid and --declined contradict")
    done = counter.type("resolve", wanted, "--paid", "--reason", "stands in their list")
    assert (done["before"]["status"], done["after"]["status"], done["after"]["captured"]) == ("parked", "paid", "100.00 INR")
    assert counter.type("resolve", wanted, "--paid", "--reason", "again")["after"] == done["after"]
    assert "cannot become declined" in counter.no("resolve", wanted, "--declined", "--reason", "x")


def test_a_provider_that_is_not_in_reach_is_named(counter: Counter) -> None:
    wanted = str(counter.play(a_parked_one).payment_id)
    assert counter.no("resolve", wanted).startswith("PAYMENT_SERVICE_URL is not set")
    assert counter.no("resolve", NOWHERE) == "there is no such payment"


def test_a_provider_is_asked_now_and_silence_is_exit_code_1(
    counter: Counter, start_kassa: StartKassa, start_sandbox: StartSandbox
) -> None:
    """An order whose charge was booked and never answered, and a charge of which nobody says anything."""
    sandbox = start_sandbox()
    url = {"PAYMENT_SERVICE_URL": f"{sandbox.url}/sandbox/payment"}
    cards = factories.ScriptedCards(begins=["silent_paid"], asks=["silent"] * 9)

    async def story(shop: Shop) -> tuple[payments.Payment, str]:
        from kassa.checkout import saga

        held = await shop.begin({"mouse": 1})
        going = asyncio.create_task(saga.drive(shop.ctx, held))
        await asyncio.sleep(0.3)
        going.cancel()
        return await shop.payment_of(held.payment.payment_id), held.payment.provider_key

    payment, key = counter.play(story, providers=[cards])
    charge = {"amount": 99.9, "payment_method": {"type": "card", "card_number": "4111111111111111"}}
    assert payment.status == "unknown"
    silent = counter.type("resolve", str(payment.payment_id), code=1, PAYMENT_SERVICE_URL="http://127.0.0.1:9/sandbox/payment")
    assert (silent["before"]["status"], silent["after"]["status"]) == ("unknown", "unknown")
    import httpx2

    answer = httpx2.post(f"{url['PAYMENT_SERVICE_URL']}/payments/process", json=charge, headers={"Idempotency-Key": key})
    assert answer.status_code == 200
    found = counter.type("resolve", str(payment.payment_id), **url)
    assert (found["before"]["status"], found["after"]["status"]) == ("unknown", "paid")


def test_a_refund_is_given_once_under_its_key(counter: Counter) -> None:
    payment = counter.play(a_paid_one)
    wanted = str(payment.payment_id)
    assert "100.00 INR of it can be given back" in counter.no("refund", wanted, "--amount", "100.01")
    assert counter.no("refund", wanted, "--amount", "0") == "--amount must be above zero"
    first = counter.type("refund", wanted, "--amount", "30", "--reason", "damaged")
    assert (first["before"]["refunded"], first["after"]["refunded"], first["refund"]["status"]) == (
        "0.00 INR",
        "30.00 INR",
        "succeeded",
    )
    again = counter.type("refund", wanted, "--amount", "30.00", "--reason", "damaged", "--key", first["key"])
    assert (again["replayed"], again["refund"], again["after"]["refunded"]) == (True, first["refund"], "30.00 INR")
    assert "used with another request" in counter.no("refund", wanted, "--amount", "31", "--key", first["key"])
    rest = run(counter.home, "payments", "refund", wanted, DATABASE_URL=counter.dsn, KASSA_SECRET=SECRET)
    assert rest.returncode == 0
    assert "the key of this refund is cli-" in rest.stderr
    assert "refunded" in rest.stdout
    assert "0.00 INR of it can be given back" in counter.no("refund", wanted)
    assert counter.no("refund", NOWHERE) == "there is no such payment"


def test_a_refund_needs_the_secret_in_production(counter: Counter) -> None:
    assert counter.no("refund", NOWHERE, PRODUCTION="true", KASSA_SECRET="").startswith("KASSA_SECRET is not set")


def test_what_was_given_back_by_hand_is_noted_once(counter: Counter) -> None:
    async def story(shop: Shop) -> payments.Refund:
        paid = await a_paid_one(shop)
        async with shop.db.transaction("refund") as tx:
            payment, refund = await payments.begin_refund(tx, paid, owed=True, reason=None)
            await payments.conclude_refund(tx, payment, refund, RefundVerdict("impossible"))
        return refund

    refund = counter.play(story)
    done = counter.type("refund-done", str(refund.refund_id), "--reason", "bank transfer 4711")
    assert (done["before"]["status"], done["after"]["status"]) == ("parked", "succeeded")
    assert counter.type("refund-done", str(refund.refund_id), "--reason", "again")["after"] == done["after"]
    assert counter.no("refund-done", NOWHERE, "--reason", "x").startswith("there is no such refund")
    assert counter.no("refund-done", str(refund.refund_id), "--reason", " ").startswith("--reason must not be empty")


@pytest.mark.parametrize(("word", "status"), [((), "paid"), (("--declined",), "declined")])
def test_a_simulated_payment_that_waits_is_settled(counter: Counter, word: tuple[str, ...], status: str) -> None:
    async def story(shop: Shop) -> payments.Payment:
        opened = await factories.open_payment(shop, provider="simulated", ref_kind="grpc", script="grpc:wait")
        return (await factories.settle(shop, opened, "waiting")).payment

    payment = counter.play(story)
    done = counter.type("settle", str(payment.payment_id), *word)
    assert (done["before"]["status"], done["after"]["status"]) == ("waiting", status)


def test_only_simulated_payments_are_settled(counter: Counter) -> None:
    assert counter.no("settle", str(counter.play(a_parked_one).payment_id)).startswith("only simulated gRPC payments are settled")


def test_a_case_is_closed_once_with_a_reason(counter: Counter) -> None:
    async def story(shop: Shop) -> cases.Case:
        await cases.open_case(shop.db, shop.merchant_id, "undo_stuck", f"checkout:{new_id()}", act="inventory", last_answer="404")
        return (await cases.find_cases(shop.db, merchant_id=shop.merchant_id))[0]

    case = counter.play(story)
    listed = counter.type("cases", "--merchant", case.merchant_id, "--kind", "undo_stuck")["cases"]
    assert [row["case_id"] for row in listed] == [str(case.case_id)]
    done = counter.type("close", str(case.case_id), "--reason", "goods returned by hand")
    assert (done["before"]["decision"], done["after"]["decision"]) == (None, "goods returned by hand")
    assert counter.no("close", str(case.case_id), "--reason", "again").startswith("this case was closed at ")
    assert counter.type("cases", "--merchant", case.merchant_id)["cases"] == []
    assert len(counter.type("cases", "--merchant", case.merchant_id, "--all")["cases"]) == 1
    assert counter.no("close", NOWHERE, "--reason", "x").startswith("there is no such case")
    assert counter.no("close", "x", "--reason", "x").startswith("CASE_ID must be an id")


def test_commands_work_beside_a_running_server(start_kassa: StartKassa) -> None:
    server = start_kassa()
    done = run(server.home, "payments", "list", "--json", DATABASE_URL=server.dsn)
    assert json.loads(done.stdout) == {"payments": []}
    done = run(server.home, "merchants", "list", "--json", DATABASE_URL=server.dsn)
    assert len(json.loads(done.stdout)["merchants"]) == 8
