"""`kassa reconcile`: a CSV and the sandbox's own book against what a running Kassa has booked."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import time
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests import rig
from tests.conftest import StartKassa
from tests.unit.shell.processes import refused, run

KEY = {"X-Api-Key": "sk_demo_1"}
CARD = {"type": "credit_card", "card_number": "4111111111111111", "card_expiry": "12/27", "card_cvv": "123"}
ADDRESS = {"street": "High Street", "number": "1", "city": "Pune", "state": "MH", "zip_code": "411001", "country": "IN"}


class Town:
    """A Kassa whose cards and links are taken by its own sandbox."""

    def __init__(self, server: rig.Server) -> None:
        self.server = server
        self.client = server.client(headers=KEY)
        self.book = server.home / "sandbox.db"

    def pay(self, price: str = "349.70") -> str:
        """A merchant's payment that its buyer paid."""
        made = self.client.post(
            "/api/v1/payments", json={"order_id": uuid.uuid4().hex, "amount": 1, "price": price, "alias": "stripe"}
        )
        assert made.status_code == 200, made.text
        token = urlsplit(made.json()["payment_url"]).path.rpartition("/")[2]
        assert self.client.post(f"/sandbox/payments/{token}/accept").status_code == 200
        payment_id = made.json()["payment_id"]
        self.until(payment_id, 2)
        return str(payment_id)

    def until(self, payment_id: str, status: int) -> None:
        deadline = time.monotonic() + 10
        while self.client.get(f"/api/v1/payments/{payment_id}/show").json()["status"] != status:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def buy(self) -> None:
        """Somebody buys a mouse with a card."""
        body = {"customer_email": "guest@example.com", "items": [{"product_id": "prod_001", "quantity": 1, "price": 99.9}],
                "payment_method": CARD, "shipping_address": ADDRESS}  # fmt: skip
        answer = self.server.client().post("/checkout/process", json=body)
        assert answer.status_code == 200, answer.text

    def give_back(self, payment_id: str, amount: str) -> str:
        answer = self.client.post(
            f"/api/v1/payments/{payment_id}/refunds", json={"amount": amount}, headers={"Idempotency-Key": uuid.uuid4().hex}
        )
        assert answer.json()["status"] == "succeeded", answer.text
        return str(answer.json()["refund_id"])

    def reconcile(self, *words: str) -> tuple[int, Any]:
        done = run(self.server.home, "reconcile", *words, "--json", DATABASE_URL=self.server.dsn)
        assert done.returncode in {0, 1}, done.stderr
        return done.returncode, json.loads(done.stdout)

    def in_book(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.book)) as book, book:
            return book.execute(sql, values).fetchall()


@pytest.fixture(scope="module")
def town(start_kassa: StartKassa) -> Town:
    port = rig.free_port()
    return Town(start_kassa(HTTP_PORT=port, PAYMENT_SERVICE_URL=f"http://127.0.0.1:{port}/sandbox/payment"))


def spoil_the_book(town: Town, paid: str, refund: str) -> None:
    """One charge vanishes, one is of another sum, one of nobody's, and a refund is of another sum."""
    (card,) = town.in_book("SELECT ref FROM bookings WHERE kind = 'charge' AND service = 'payment' LIMIT 1")
    town.in_book("DELETE FROM bookings WHERE ref = ?", card[0])
    town.in_book("UPDATE bookings SET amount = '349.71' WHERE kind = 'charge' AND ref = ?", paid)
    town.in_book("UPDATE bookings SET amount = '10.01' WHERE kind = 'refund' AND ref = ?", refund)
    town.in_book(
        "INSERT INTO bookings (kind, service, key, ref, amount, facts, booked_us) VALUES ('charge', 'link', ?1, ?1, '5', '{}', 1)",
        str(uuid.uuid4()),
    )


def test_the_sandboxs_book_equals_ours_until_it_is_spoilt(town: Town) -> None:
    paid = town.pay()
    refund = town.give_back(paid, "10.00")
    town.buy()
    town.buy()
    code, clean = town.reconcile("--provider", "sandbox", "--book")
    assert (code, clean["differences"], clean["rows"], clean["payments"]) == (0, 0, 4, 3), clean
    spoil_the_book(town, paid, refund)
    code, spoilt = town.reconcile("--provider", "sandbox", "--book")
    assert code == 1
    assert spoilt["types"] == {"missing_there": 1, "amount_differs": 1, "refund_amount_differs": 1, "missing_here": 1}
    assert spoilt["cases_opened"] == 4
    again = town.reconcile("--provider", "sandbox", "--book", str(town.book))
    assert (again[0], again[1]["cases_opened"]) == (1, 0)
    listed = run(town.server.home, "payments", "cases", "--json", DATABASE_URL=town.server.dsn)
    assert len(json.loads(listed.stdout)["cases"]) == 4
    town.in_book("UPDATE bookings SET amount = '349.7' WHERE kind = 'charge' AND ref = ?", paid)
    assert town.reconcile("--provider", "sandbox", "--book")[1]["cases_closed"] == 1


def test_a_csv_is_compared_and_people_see_what_differs(town: Town, tmp_path: Path) -> None:
    first, second = town.pay("12.50"), town.pay("1")
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    file = tmp_path / "statement.csv"
    head = "kind;payment_id;amount;currency;occurred_at;fee"
    file.write_text(f"{head}\ncharge;{first};12.50;USD;{now};0\ncharge;{second};1.10;USD;{now};0\n", encoding="utf-8-sig")
    words = ("reconcile", "--provider", "stripe", str(file), "--merchant", "1", "--since", now)
    done = run(town.server.home, *words, DATABASE_URL=town.server.dsn)
    assert done.returncode == 1, done.stderr
    assert f"payment:{second}" in done.stdout
    assert "1.10 USD there; 1.00 USD here" in done.stdout
    assert first not in done.stdout
    assert done.stderr == ""
    file.write_text(file.read_text(encoding="utf-8-sig").replace("1.10", "1.00"))
    done = run(town.server.home, *words, DATABASE_URL=town.server.dsn)
    assert done.returncode == 0, done.stdout
    assert "No difference" in done.stdout
    assert "1 cases closed" in done.stdout


@pytest.fixture(scope="module")
def dsn(database_server: rig.DatabaseServer) -> str:
    return database_server.fresh()


def typed(home: Path, dsn: str, *words: str) -> subprocess.CompletedProcess[str]:
    return run(home, "reconcile", *words, DATABASE_URL=dsn)


def test_what_cannot_be_begun_is_one_kind_line(short_home: Path, dsn: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.csv"
    file.write_text("payment_id,kind,amount,currency,occurred_at\nsecret-4711,payout,1.00,USD,2026-01-01\n")
    said = refused(typed(short_home, dsn, "--provider", "stripe", str(file)))
    assert said == "line 2 has a kind that is neither charge nor refund"
    for words, says in (
        (("--provider", "stripe"), "FILE is missing"),
        (("--provider", "stripe", str(tmp_path / "nothing.csv")), f"{tmp_path}/nothing.csv is not a file"),
        (("--provider", "sandbox", str(file)), "--book and --provider sandbox belong together"),
        (("--provider", "stripe", "--book"), "--book and --provider sandbox belong together"),
        (("--provider", "sandbox", "--book", str(file)), "This is no sandbox's book"),
        (("--provider", "stripe", str(file), "--since", "yesterday"), "--since must be a day"),
        (("--provider", "stripe", str(file), "--since", "2026-02-01", "--until", "2026-01-01"), "--since is not before --until"),
        (("--provider", "stripe", str(file), "--merchant", "nobody"), "There is no such merchant"),
    ):
        assert refused(typed(short_home, dsn, *words)).startswith(says)


def test_it_explains_itself(short_home: Path) -> None:
    done = run(short_home, "reconcile", "--help")
    assert "kassa reconcile --provider stripe statement.csv" in done.stdout
