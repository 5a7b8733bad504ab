"""What must be true once everything has come to rest: asked of our tables, of the neighbours' book, and of `kassa verify`."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from tests import rig

from kassa import verify
from kassa.kit.context import Context
from kassa.kit.database import Database
from kassa.kit.secrets import Keys

RESTLESS = """
    SELECT count(*)::int AS n FROM (
        SELECT 1 FROM checkouts WHERE status NOT IN ('completed', 'undone', 'parked')
        UNION ALL SELECT 1 FROM checkouts WHERE status = 'completed' AND next_at IS NOT NULL
        UNION ALL SELECT 1 FROM refunds WHERE status = 'pending'
        UNION ALL SELECT 1 FROM payments WHERE ref_kind <> 'order' AND (next_ask_at <= kassa_now() OR status = 'opened')
        UNION ALL SELECT 1 FROM deliveries WHERE status IN ('pending', 'processing', 'retrying')
    ) AS moving
"""
"""What still moves. An `undone` checkout may have a date: the two late looks for a charge that was given up."""

MOVING = """
    SELECT 'checkout' AS what, checkout_id::text AS id, status, next_at::text AS due FROM checkouts
     WHERE status NOT IN ('completed', 'undone', 'parked') OR (status = 'completed' AND next_at IS NOT NULL)
    UNION ALL SELECT 'refund', refund_id::text, status, next_at::text FROM refunds WHERE status = 'pending'
    UNION ALL SELECT 'payment', payment_id::text, status, next_ask_at::text FROM payments
     WHERE ref_kind <> 'order' AND (next_ask_at <= kassa_now() OR status = 'opened')
    UNION ALL SELECT 'delivery', event_id::text, status, next_at::text FROM deliveries WHERE status IN ('pending', 'processing', 'retrying')
    LIMIT 5
"""
"""A few of them, for whoever asks why there is no rest."""

CHECKOUTS = """
    SELECT c.checkout_id, c.status, c.acts, c.buyer_id, c.idempotency->>'key' AS key, p.status AS payment, p.provider, p.payment_id, p.amount_minor, p.captured_minor,
           p.refunded_minor, o.order_id, o.status AS order_status, o.payment_status,
           (SELECT jsonb_object_agg(product_id, quantity) FROM order_lines l WHERE l.order_id = o.order_id) AS lines,
           (SELECT count(*)::int FROM reservations r WHERE r.checkout_id = c.checkout_id AND r.state = 'held') AS held,
           (SELECT count(*)::int FROM cases k WHERE k.subject = 'checkout:' || c.checkout_id AND closed_at IS NULL) AS cases
      FROM checkouts c LEFT JOIN payments p USING (merchant_id, payment_id) LEFT JOIN orders o USING (merchant_id, order_id)
"""
COLLECTED = """
    SELECT p.payment_id, p.ref_kind, p.ref, p.provider, p.status, p.captured_minor - p.refunded_minor AS net,
           (SELECT coalesce(sum(l.amount_minor), 0)::bigint FROM ledger_entries e JOIN ledger_lines l USING (merchant_id, entry_id)
             WHERE e.payment_id = p.payment_id AND l.account LIKE 'provider:%') AS booked,
           (SELECT count(*)::int FROM payments o WHERE o.merchant_id = p.merchant_id AND o.ref_kind = p.ref_kind AND o.ref = p.ref
                                                   AND o.ref_kind = 'outside' AND o.status = 'paid') AS keepers
      FROM payments p WHERE p.ref_kind <> 'order'
"""
TOKENS = """
    SELECT s.merchant_id, s.tokens_used,
           (SELECT count(*) FROM payments p WHERE p.merchant_id = s.merchant_id AND p.token_plan = s.plan_id) AS payments
      FROM subscriptions s
"""
LEVELS = """
    SELECT s.product_id, s.available,
           (SELECT coalesce(sum(quantity), 0) FROM reservations r
             WHERE r.product_id = s.product_id AND r.state = 'held' AND r.source = 'own')::bigint AS held,
           (SELECT sum(CASE kind WHEN 'sold' THEN -quantity ELSE quantity END) FROM stock_journal j
             WHERE j.product_id = s.product_id)::bigint AS told
      FROM stock_levels s
"""


def is_at_rest(server: rig.Server) -> bool:
    """Whether nothing moves any more."""
    return bool(server.sql(RESTLESS)[0]["n"] == 0)


def breaches(dsn: str, sandbox: rig.Sandbox | None) -> list[str]:
    """What `kassa verify` finds, with the payment service's book beside ours."""

    async def look() -> list[str]:
        db = await Database.connect(dsn, size=2)
        try:
            book = verify.summary_of(f"{sandbox.url}/sandbox/control/summary") if sandbox else None
            found = await verify.run(Context(db, Keys(b"x" * 32)), book=book)
        finally:
            await db.close()
        return [f"verify {breach.invariant}: {breach.subject}: {breach.text}" for breach in found]

    return rig.run_alone(look)


def levels(server: rig.Server) -> list[str]:
    """Own stock: what can be had and what somebody holds is told by the journal."""
    wrong = []
    for row in server.sql(LEVELS):
        if row["available"] + row["held"] != row["told"] or row["available"] < 0:
            wrong.append(f"stock of {row['product_id']}: {row}")
    return wrong


class Books:
    """What the neighbours have booked for each checkout and order."""

    def __init__(self, sandbox: rig.Sandbox | None) -> None:
        book: Mapping[str, Any] = sandbox.book() if sandbox else {}
        summary: Mapping[str, Any] = sandbox.summary() if sandbox else {"keys": [], "double": [], "unbacked_refunds": []}
        self.providers = {"card", "link"} if sandbox else {"card"}
        """Those whose charges stand in the book; the built-in sandbox has a book of its own."""
        self.charged = {row["key"]: (row["charges"], Decimal(row["net"])) for row in summary["keys"]}
        self.faults = [f"charged twice: {key}" for key in summary["double"]]
        self.faults += [f"refunded without a charge: {row}" for row in summary["unbacked_refunds"]]
        self.deducted: dict[str, Counter[str]] = {}
        for kind, sign in (("deductions", 1), ("restocks", -1)):
            for row in book.get(kind, ()):
                count = self.deducted.setdefault(row["key"].partition(":")[0], Counter())
                for item in row["items"]:
                    count[item["product_id"]] += sign * item["quantity"]
        self.orders = Counter(row["checkout_id"] for row in book.get("orders", ()))
        self.cancels = Counter(row["key"].partition(":")[0] for row in book.get("cancels", ()))
        told = Counter(row["key"] for row in book.get("notifications", ()))
        self.faults += [f"told {times} times: {key}" for key, times in told.items() if times > 1]
        self.taken: dict[str, Counter[str]] = {}
        for row in book.get("stock_changes", ()):
            self.taken.setdefault(row["key"].partition(":")[0], Counter())[row["product_id"]] -= row["quantity"]

    def judge(self, row: Mapping[str, Any]) -> list[str]:
        """What is wrong with one checkout that has come to rest."""
        if row["order_id"] is None:
            return [] if row["status"] == "undone" else [f"{row['status']} without an order"]
        sold = row["status"] == "completed" and row["order_status"] != "cancelled"
        wrong = []
        if row["status"] != "parked":
            wrong += self._outside(row, sold=sold)
        elif not row["cases"]:
            wrong.append("parked without a case")
        if row["held"]:
            wrong.append("stock is still held")
        if (row["order_status"] in {"pending", "cancelled"}) is sold:
            wrong.append(f"the order is {row['order_status']}")
        net = row["captured_minor"] - row["refunded_minor"]
        if row["status"] != "parked" and net != (row["amount_minor"] if sold and row["payment"] != "opened" else 0):
            wrong.append(f"net is {net} of {row['amount_minor']}")
        return wrong

    def _outside(self, row: Mapping[str, Any], *, sold: bool) -> list[str]:
        checkout, order, acts = str(row["checkout_id"]), str(row["order_id"]), row["acts"]
        charges, net = self.charged.get(f"{checkout}:payment", (0, Decimal(0)))
        wanted = Counter(row["lines"]) if sold else Counter()
        wrong = []
        if row["provider"] == "link":
            charges, net = self.charged.get(str(row["payment_id"]), (0, Decimal(0)))
        if row["provider"] in self.providers and (charges > 1 or net * 100 != (row["amount_minor"] if sold else 0)):
            wrong.append(f"the provider has {charges} charges, net {net}")
        if "inventory" in acts and +self.deducted.get(checkout, Counter()) != wanted:
            wrong.append(f"the inventory has taken {self.deducted.get(checkout)} for {wanted}")
        if "order_service" in acts and self.orders[checkout] - self.cancels[checkout] != int(sold):
            wrong.append(f"the order service has {self.orders[checkout]} orders and {self.cancels[checkout]} cancels")
        if any(act.startswith("take:") for act in acts) and +self.taken.get(order, Counter()) != wanted:
            wrong.append(f"the product service has given {self.taken.get(order)} for {wanted}")
        return wrong


def collected(server: rig.Server, books: Books) -> list[str]:
    """What merchants asked for: the provider, the ledger and the payment have the same sum, one payment of an order keeps it."""
    wrong = []
    for row in server.sql(COLLECTED):
        charges, net = books.charged.get(str(row["payment_id"]), (0, Decimal(0)))
        if row["provider"] == "link" and (charges > 1 or net * 100 != row["net"]):
            wrong.append(f"the provider has {charges} charges, net {net}, for {row}")
        if row["booked"] != row["net"] or row["keepers"] > 1 or row["status"] == "opened":
            wrong.append(f"{row}")
    wrong += [f"tokens: {row}" for row in server.sql(TOKENS) if row["tokens_used"] != row["payments"]]
    return wrong


def checkouts_of(server: rig.Server) -> dict[str, list[dict[str, Any]]]:
    """The checkouts by who made them: the key of a call at `/checkout/process`, or the buyer's id."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in server.sql(CHECKOUTS):
        assert isinstance(row["checkout_id"], uuid.UUID)
        for name in {row["key"], row["buyer_id"]} - {None}:
            found.setdefault(name, []).append(row)
    return found
