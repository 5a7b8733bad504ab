"""The clock of a development shop, moved by hand: everything that was due by then is done within seconds, by living processes.

One shop, its own database, and `kassa sandbox clock` or the sandbox's desk beside it. Each story moves the clock forward for all of them.
"""

from __future__ import annotations

import base64
import itertools
import json
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import pytest
from tests import rig
from tests.conftest import StartKassa, StartSandbox
from tests.contracts.webhooks.merchants import BROKEN, FakeMerchant
from tests.unit.shell.processes import refused, run

T = TypeVar("T")
Json = dict[str, Any]

HOME = {"street": "1 Navoiy", "city": "Tashkent", "state": "Tashkent", "postalCode": "100000", "country": "Uzbekistan"}
AT_ONCE_S = 20
"""How soon what has become due must be done; a second or two, unless the machine is busy."""
_users = itertools.count(10**9 + secrets.randbelow(10**14))


def eventually(look: Callable[[], T], within_s: float = AT_ONCE_S) -> T:
    until = time.monotonic() + within_s
    while not (found := look()):
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.05)
    return found


@dataclass
class Town:
    """A shop with its sandbox, and whoever moves its clock."""

    server: rig.Server
    http: httpx2.Client

    def command(self, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return run(
            self.server.home, "sandbox", "clock", *words, **{"DATABASE_URL": self.server.dsn, "PRODUCTION": "false", **settings}
        )

    def ahead(self) -> int:
        found: int = self.http.get("/sandbox/control/clock").json()["ahead_s"]
        return found

    def later(self, step: str) -> None:
        """Move the clock from the desk."""
        answer = self.http.post("/sandbox/control/clock", json={"step": step})
        assert answer.status_code == 200, answer.text

    def as_user(self, user: int) -> Json:
        return {"Authorization": f"Bearer {self.server.token(user)}"}

    def order(self, method: str, product: str = "prod_001") -> Json:
        user = next(_users)
        body = {"productId": product, "quantity": 1}
        assert self.http.post("/api/cart/items", json=body, headers=self.as_user(user)).status_code == 201
        wish = {"shippingAddress": HOME, "paymentMethod": method}
        answer = self.http.post("/api/orders", json=wish, headers=self.as_user(user))
        assert answer.status_code == 201, answer.text
        found: Json = answer.json()["data"]
        return found | {"user": user}

    def order_is(self, order: Json) -> tuple[str, str]:
        [row] = self.server.sql("SELECT status, payment_status FROM orders WHERE order_id = $1::text::uuid", order["id"])
        return row["status"], row["payment_status"]

    def payment_is(self, payment_id: str) -> str:
        [row] = self.server.sql("SELECT status FROM payments WHERE payment_id = $1::text::uuid", payment_id)
        found: str = row["status"]
        return found

    def asks(self, order_id: str, key: str | None = None) -> httpx2.Response:
        """A merchant asks for a payment of its own order."""
        body = {"alias": "stripe", "order_id": order_id, "amount": 1, "price": "9.99"}
        headers = {"X-Api-Key": "sk_demo_1"} | ({"Idempotency-Key": key} if key else {})
        return self.http.post("/api/v1/payments", json=body, headers=headers)


@pytest.fixture(scope="module")
def town(start_kassa: StartKassa) -> Iterator[Town]:
    server = start_kassa()
    with server.client() as http:
        yield Town(server, http)


@pytest.fixture
def short_home(tmp_path: Path) -> Path:
    home = tmp_path / "k"
    home.mkdir()
    return home


def test_the_clock_is_shown_and_moved_from_the_command_line_and_from_the_desk(town: Town) -> None:
    before = town.ahead()
    shown = town.command()
    assert shown.returncode == 0
    assert "UTC" in shown.stdout
    moved = town.command("+1h30m", "--json")
    assert json.loads(moved.stdout)["ahead_s"] == before + 5400
    town.later("+90s")
    assert town.ahead() == before + 5490
    assert "ahead of the database's own clock" in town.command().stdout


@pytest.mark.parametrize("step", ["12", "h", "+0h", "+1w", "1.5h", "soon", "+12 h", "+999999d"])
def test_what_is_no_step_is_refused_in_both_places(town: Town, step: str) -> None:
    before = town.ahead()
    assert "step" in refused(town.command(step))
    answer = town.http.post("/sandbox/control/clock", json={"step": step})
    assert (answer.status_code, "step" in answer.text) == (422, True)
    assert town.ahead() == before


@pytest.mark.parametrize("body", [{}, {"step": 12}, [], "x"])
def test_a_desk_that_is_told_nothing_says_what_to_tell_it(town: Town, body: object) -> None:
    answer = town.http.post("/sandbox/control/clock", json=body)
    assert (answer.status_code, answer.json()["detail"]) == (422, 'Say how far: {"step": "+12h"}')


def test_it_never_goes_back_and_says_why(town: Town) -> None:
    before = town.ahead()
    assert "would lie in the future" in refused(town.command("-12h"))
    answer = town.http.post("/sandbox/control/clock", json={"step": "-12h"})
    assert (answer.status_code, "would lie in the future" in answer.text) == (422, True)
    assert town.ahead() == before


def test_production_has_no_such_command(town: Town) -> None:
    said = refused(town.command("+12h", PRODUCTION="true"))
    assert "for development only" in said


def test_on_a_database_of_production_it_stays(
    start_kassa: StartKassa, database_server: rig.DatabaseServer, short_home: Path
) -> None:
    """A development process that is started on it by mistake does not make it one of development again."""
    dsn = database_server.fresh()
    own = {"DATABASE_URL": dsn, "PRODUCTION": "false"}
    assert "Nobody has worked with this database yet" in refused(run(short_home, "sandbox", "clock", "+12h", **own))
    rig.query(dsn, "UPDATE clock SET belongs_to = 'production'")
    assert "one of production" in refused(run(short_home, "sandbox", "clock", "+12h", **own))
    server = start_kassa(database=dsn)
    with server.client() as http:
        answer = http.post("/sandbox/control/clock", json={"step": "+12h"})
    assert (answer.status_code, "one of production" in answer.text) == (422, True)
    assert rig.query(dsn, "SELECT belongs_to, shift = '0' AS still FROM clock") == [{"belongs_to": "production", "still": True}]


def test_a_sandbox_that_runs_alone_has_no_clock_and_still_runs(start_sandbox: StartSandbox) -> None:
    sandbox = start_sandbox()
    answer = httpx2.post(f"{sandbox.url}/sandbox/control/clock", json={"step": "+12h"}, trust_env=False)
    assert (answer.status_code, "kassa sandbox clock" in answer.text) == (409, True)
    assert sandbox.desk("GET", "/book")["charges"] == []


# What is due is done at once


def test_a_link_that_nobody_paid_ends_and_its_stock_is_let_go(town: Town) -> None:
    order = town.order("link:stripe", "prod_006")
    eventually(lambda: town.payment_is(order["paymentId"]) == "waiting")
    held = "SELECT state FROM reservations r JOIN orders o USING (merchant_id, checkout_id) WHERE o.order_id = $1::text::uuid"
    assert [row["state"] for row in town.server.sql(held, order["id"])] == ["held"]
    town.later("+31m")
    eventually(lambda: town.order_is(order) == ("cancelled", "failed"))
    assert town.payment_is(order["paymentId"]) == "expired"
    assert [row["state"] for row in town.server.sql(held, order["id"])] == ["released"]


def test_a_merchants_payment_ends_after_its_day(town: Town) -> None:
    made = town.asks(f"ends-{next(_users)}").json()
    payment_id = made["payment_id"]
    eventually(lambda: town.payment_is(payment_id) == "waiting")
    town.later("+23h")
    time.sleep(1)
    assert town.payment_is(payment_id) == "waiting"
    town.later("+61m")
    eventually(lambda: town.payment_is(payment_id) == "expired")


def test_after_twelve_hours_payme_holds_nothing_any_more(town: Town) -> None:
    user = next(_users)
    assert town.http.post("/cart/items", json={"ambassador_id": 1}, headers=town.as_user(user)).status_code in {200, 201}
    bought = town.http.post("/checkout", headers=town.as_user(user)).json()
    purchase = bought["purchase_id"]
    [row] = town.server.sql("SELECT p.payment_id::text AS id, p.amount_minor FROM orders o JOIN payments p USING (merchant_id, payment_id)"
                            " WHERE o.order_id = $1::text::uuid", purchase)  # fmt: skip
    [ours] = town.server.sql("SELECT (extract(epoch FROM kassa_now()) * 1000)::bigint AS ms")
    key = (town.server.home / "secrets" / "payme_key").read_text().strip()
    call = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "CreateTransaction",
        "params": {
            "id": secrets.token_hex(12),
            "time": ours["ms"],
            "amount": row["amount_minor"],
            "account": {"order_id": purchase},
        },
    }
    door = {"Authorization": "Basic " + base64.b64encode(f"Paycom:{key}".encode()).decode()}
    answer = town.http.post("/payme/webhook", json=call, headers=door).json()
    assert answer["result"]["state"] == 1, answer

    def attempt() -> tuple[int, int | None]:
        [found] = town.server.sql(
            "SELECT state, reason::int AS reason FROM payme_transactions WHERE payment_id = $1::text::uuid", row["id"]
        )
        return found["state"], found["reason"]

    town.later("+11h59m")
    time.sleep(1.5)
    assert attempt() == (1, None)
    town.later("+61s")
    eventually(lambda: attempt() == (-1, 4))


def test_the_ten_attempts_of_two_days_are_made_in_seconds(town: Town) -> None:
    merchant = FakeMerchant()
    try:
        merchant.will("/hook", BROKEN)
        wish = {"url": merchant.url("/hook"), "events": ["payment.expired"]}
        made = town.http.post("/api/v1/webhook-endpoints", json=wish, headers={"X-Api-Key": "sk_demo_2"}).json()
        endpoint = made["endpoint_id"]
        town.later("+20s")  # what is recorded while an endpoint is made is nobody's
        body = {"alias": "stripe", "order_id": f"told-{next(_users)}", "amount": 1, "price": "9.99"}
        assert town.http.post("/api/v1/payments", json=body, headers={"X-Api-Key": "sk_demo_2"}).is_success
        town.later("+25h")

        def delivery() -> Json | None:
            rows = town.server.sql("SELECT status, attempts FROM deliveries WHERE endpoint_id = $1::text::uuid", endpoint)
            return rows[0] if rows else None

        for attempt in range(1, 11):
            eventually(
                lambda: (delivery() or {}).get("attempts") == attempt and (delivery() or {})["status"] in {"retrying", "failed"}
            )
            town.later("+30h")
        assert delivery() == {"status": "failed", "attempts": 10}
        time.sleep(1)
        assert len(merchant.calls("/hook")) == 10
    finally:
        merchant.close()


def test_a_key_that_is_forgotten_still_buys_nothing_twice(town: Town) -> None:
    """F27: the key ages out, and the merchant's own order id goes on to forbid a second payment."""
    order_id, key = f"once-{next(_users)}", secrets.token_hex(12)
    first = town.asks(order_id, key)
    made = first.json()
    payment_id = made["payment_id"]
    again = town.asks(order_id, key)
    assert (again.content, again.headers.get("idempotent-replayed")) == (first.content, "true")
    link = eventually(
        lambda: town.server.sql("SELECT pay_url FROM payments WHERE payment_id = $1::text::uuid", payment_id)[0]["pay_url"]
    )
    assert town.http.post(f"/sandbox/payments/{link.rsplit('/', 1)[-1]}/accept").status_code == 200
    eventually(lambda: town.payment_is(payment_id) == "paid")
    town.later("+31d")
    eventually(lambda: town.server.sql("SELECT 1 FROM idempotency_keys WHERE key = $1", key) == [], within_s=90)
    late = town.asks(order_id, key)
    assert (late.status_code, late.json()["code"]) == (400, "payment_already_exists")
    assert "idempotent-replayed" not in late.headers
    assert len(town.server.sql("SELECT 1 FROM payments WHERE ref = $1", order_id)) == 1


def test_after_the_providers_window_it_is_only_asked_and_nothing_is_sent(
    start_kassa: StartKassa, start_sandbox: StartSandbox
) -> None:
    """F17: 25 hours later the provider has forgotten the key, so the charge is asked about and never sent again."""
    sandbox = start_sandbox()
    server = start_kassa(**sandbox.settings("payment"), LOG_LEVEL="warning")
    sandbox.script("payment", "process", "book_then_cut")
    sandbox.default("payment", "by_key", "cut")
    with server.client() as http:
        town = Town(server, http)
        form = {
            "payment_method": {"type": "credit_card", "card_number": "4111111111111111", "card_expiry": "12/30", "card_cvv": "123"},
            "customer_email": "late@example.com",
            "shipping_address": {"street": "Rua", "number": "1", "city": "Sao Paulo", "state": "SP", "zip_code": "01234-567"},
            "items": [{"product_id": "prod_001", "quantity": 1}],
        }
        http.post("/checkout/process", json=form)

        def called(act: str) -> int:
            return sum(call["act"] == act for call in sandbox.book()["calls"])

        eventually(lambda: called("by_key") > 0)
        town.later("+25h")
        before = called("by_key")
        eventually(lambda: called("by_key") > before, within_s=30)
        sandbox.desk("DELETE", "/scripts")
        town.later("+2h")
        eventually(lambda: server.sql("SELECT status FROM payments")[0]["status"] in {"paid", "refunded"}, within_s=40)
        assert called("process") == 1
        assert sandbox.summary()["double"] == []
