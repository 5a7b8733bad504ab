"""What a buyer of ambassadors does, and what the reports and the books say of a purchase afterwards."""

from __future__ import annotations

import itertools
import secrets
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2
from tests.rig import Server

from .paycom import NO_TLS, UUID7, Cashbox, Json, Purchase

PRICES: Final = {1: 5_000_000, 2: 7_500_000, 3: 10_000_000, 4: 2_500_000, 5: 15_000_000}
LONG_FROM_NOW: Final = 4_102_444_800
_users = itertools.count(10**9 + secrets.randbelow(10**14))


@dataclass(frozen=True)
class Booking:
    """The booking site of one Kassa: buyers, their carts and their checkouts."""

    server: Server
    cashbox: Cashbox
    _client: list[httpx2.Client] = field(default_factory=list)

    def ask(self, user: int, method: str, path: str, **options: Any) -> httpx2.Response:
        """As this buyer. The token outlives every clock that a test may move."""
        if not self._client:
            self._client.append(self.server.client(verify=NO_TLS))
        token = self.server.token(user, exp=LONG_FROM_NOW)
        return self._client[0].request(method, path, headers={"Authorization": f"Bearer {token}"}, **options)

    def add(self, user: int, *ambassadors: int) -> None:
        for ambassador in ambassadors:
            answer = self.ask(user, "POST", "/cart/items", json={"ambassador_id": ambassador})
            assert answer.status_code in {200, 201}, answer.text

    def remove(self, user: int, *ambassadors: int) -> None:
        for ambassador in ambassadors:
            answer = self.ask(user, "DELETE", "/cart/items", params={"ambassador_id": ambassador})
            assert answer.status_code == 204, answer.text

    def cart(self, user: int) -> list[int]:
        """The ambassadors in the cart, in order."""
        answer = self.ask(user, "GET", "/cart")
        assert answer.status_code == 200, answer.text
        return [item["ambassador_id"] for item in answer.json()["items"]]

    def checkout(self, user: int) -> Purchase:
        answer = self.ask(user, "POST", "/checkout")
        assert answer.status_code == 201, answer.text
        body = answer.json()
        assert set(body) == {"purchase_id", "payment_id", "amount", "payment_url"}
        assert UUID7.fullmatch(body["purchase_id"])
        assert UUID7.fullmatch(body["payment_id"])
        return Purchase(**body, user=user, cashbox=self.cashbox)

    def buy(self, *ambassadors: int, user: int | None = None) -> Purchase:
        """A buyer whom nobody has seen before puts these into the cart and checks out; ambassador 4 unless said."""
        user = user or a_user()
        self.add(user, *(ambassadors or (4,)))
        return self.checkout(user)

    def bought(self, user: int) -> dict[int, int]:
        """The purchase history: ambassador and price paid."""
        answer = self.ask(user, "GET", "/purchases", params={"limit": 100})
        assert answer.status_code == 200, answer.text
        rows = answer.json()["purchases"]
        assert answer.json()["total"] == len(rows)
        found = {row["ambassador_id"]: row["price_paid"] for row in rows}
        assert len(found) == len(rows), rows
        return found

    def books(self, purchase: Purchase) -> Books:
        return read_books(self.server, purchase)


def a_user() -> int:
    """A buyer whom nobody has seen before."""
    return next(_users)


# What the tables say


@dataclass(frozen=True)
class Books:
    """All that is known of one purchase: statuses, money by account, events by type, and its rows in the reports."""

    order: str
    payment: str
    captured: int
    refunded: int
    entries: int
    held: int
    events: Counter[str]
    rows: int
    report: Json

    @property
    def truth(self) -> tuple[str, str, int, int, int]:
        """Order, payment, entries in the ledger, what the provider holds for us, rows in the purchase history."""
        return self.order, self.payment, self.entries, self.held, self.rows


def read_books(server: Server, purchase: Purchase) -> Books:
    [row] = server.sql(
        """
        SELECT o.status AS order, p.status AS payment, p.captured_minor, p.refunded_minor,
               (SELECT count(*) FROM purchases.purchases x WHERE x.order_id = o.order_id) AS rows,
               (SELECT coalesce(sum(x.price_paid), 0) FROM purchases.purchases x WHERE x.order_id = o.order_id) AS spent,
               (SELECT to_jsonb(v) FROM purchases.payments v WHERE v.id = p.payment_id) AS report
          FROM orders o JOIN payments p ON p.merchant_id = o.merchant_id AND p.payment_id = o.payment_id
         WHERE o.order_id = $1::text::uuid AND p.payment_id = $2::text::uuid
        """,
        purchase.purchase_id,
        purchase.payment_id,
    )
    assert row["spent"] in {0, purchase.amount}, "the rows of a purchase sum to its amount"
    entries, held = _ledger(server, purchase)
    return Books(
        row["order"],
        row["payment"],
        row["captured_minor"],
        row["refunded_minor"],
        entries,
        held,
        Counter(event["type"] for event in events_of(server, purchase)),
        row["rows"],
        row["report"],
    )


def _ledger(server: Server, purchase: Purchase) -> tuple[int, int]:
    """How many entries the payment has, and what stands on the provider's account; each entry sums to zero."""
    lines = server.sql(
        """
        SELECT e.entry_id, l.account, l.currency, l.amount_minor FROM ledger_entries e JOIN ledger_lines l USING (merchant_id, entry_id)
         WHERE e.payment_id = $1::text::uuid
        """,
        purchase.payment_id,
    )
    sums: Counter[Any] = Counter()
    for line in lines:
        assert line["currency"] == "UZS"
        sums[line["entry_id"]] += line["amount_minor"]
        if line["account"].startswith("provider:"):
            assert line["account"] == "provider:payme"
    assert set(sums.values()) <= {0}
    return len(sums), sum(line["amount_minor"] for line in lines if line["account"].startswith("provider:"))


def events_of(server: Server, purchase: Purchase) -> list[Json]:
    """Every event that names the order or the payment, in order; none is numbered twice, none is missing."""
    rows = server.sql(
        """
        SELECT type, subject, sequence, data FROM events
         WHERE strpos(subject || data::text, $1) > 0 OR strpos(subject || data::text, $2) > 0 ORDER BY subject, sequence
        """,
        purchase.purchase_id,
        purchase.payment_id,
    )
    for subject in {
        row["subject"] for row in rows if purchase.purchase_id in row["subject"] or purchase.payment_id in row["subject"]
    }:
        numbers = [row["sequence"] for row in rows if row["subject"] == subject]
        assert numbers == list(range(1, len(numbers) + 1)), subject
    return rows


def tables_with(server: Server, text: str) -> dict[str, int]:
    """In which tables a text stands, and in how many rows."""
    tables = server.sql(
        "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
    )
    each = [f"SELECT '{row['name']}' AS name, count(*) AS n FROM {row['name']} t WHERE strpos(t::text, $1) > 0" for row in tables]
    return {row["name"]: row["n"] for row in server.sql(" UNION ALL ".join(each), text) if row["n"]}


def kassa(server: Server, *words: str, said: str = "", fails: bool = False) -> str:
    """A command beside the server, on its data, with `said` at its standard input; gives what it printed."""
    environment = {**server.environment, "DATABASE_URL": server.dsn, "KASSA_HOME": str(server.home), "PRODUCTION": "false"}
    done = subprocess.run(
        [sys.executable, "-m", "kassa", *words],
        env=environment,
        input=said,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode != 0) is fails, done.stdout + done.stderr
    return done.stdout + (done.stderr if fails else "")


def the_books_are_in_order(server: Server) -> None:
    """`kassa verify` recomputes every invariant from the tables and finds no breach."""
    kassa(server, "verify", "--json")


def every_transaction_is_possible(server: Server) -> None:
    """The invariants of the Payme specification (section 4), and events that can happen once only: asked of all rows."""
    wrong = server.sql(
        """
        SELECT payme_id, state FROM payme_transactions
         WHERE state NOT IN (1, 2, -1, -2) OR (coalesce(perform_ms, 0) > 0) <> (state IN (2, -2))
            OR (coalesce(cancel_ms, 0) > 0) <> (state < 0) OR (reason IS NOT NULL) <> (state < 0)
            OR (state IN (2, -2) AND perform_ms > least(time_ms, create_ms) + 43200000)
        """
    )
    assert wrong == []
    twice = server.sql(
        "SELECT merchant_id, payment_id FROM payme_transactions WHERE state IN (1, 2) GROUP BY 1, 2 HAVING count(*) > 1"
    )
    assert twice == []
    repeated = server.sql(
        """
        SELECT subject, type FROM events WHERE type IN ('order.created', 'order.paid', 'order.cancelled', 'payment.paid',
               'payment.refunded', 'payment.expired', 'checkout.started') GROUP BY merchant_id, subject, type HAVING count(*) > 1
        """
    )
    assert repeated == []


def nothing_was_said_aloud(server: Server, *secret: str) -> None:
    """No secret stands in a log."""
    log = server.log_text()
    assert [each for each in secret if each in log] == []


def nobody_was_surprised(server: Server) -> None:
    """No stack trace stands in the log."""
    log = server.log_text()
    assert "Traceback" not in log, log[log.index("Traceback") :][:4000]
