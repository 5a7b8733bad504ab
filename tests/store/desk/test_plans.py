"""On a shop of 100,000 orders every look reads about as many rows as it shows: measured by PostgreSQL itself, statement by statement."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from tests.factories import SECRET
from tests.rig import DatabaseServer

from kassa import desk
from kassa.desk import lists
from kassa.desk.model import At
from kassa.desk.question import read_question
from kassa.kit import clock
from kassa.kit.database import Database
from kassa.kit.secrets import Keys

ROWS = 100_000
LIVELY = 400
"""What is of today or yesterday, or waits."""
BIG = "big"

_ID = "(lpad(to_hex((extract(epoch FROM {at}) * 1000)::bigint), 12, '0') || '7' || lpad(to_hex(n % 4096), 3, '0') || '8{kind}' || lpad(to_hex(n), 14, '0'))::uuid"
_AT = f"(now() - CASE WHEN n > {ROWS - LIVELY} THEN interval '1 minute' * ({ROWS} - n) ELSE interval '3 days' + interval '30 seconds' * ({ROWS} - n) END)"


def _id(kind: str) -> str:
    return _ID.format(at=_AT, kind=kind)


_FILL = f"""
INSERT INTO merchants (merchant_id, name) VALUES ('{BIG}', 'A big shop'), ('small', 'Its neighbour');
INSERT INTO channels (merchant_id, channel, currency, methods) VALUES ('{BIG}', 'shop', 'INR', '{{}}'), ('small', 'shop', 'INR', '{{}}');
INSERT INTO payments (merchant_id, payment_id, ref_kind, ref, provider, method, status, currency, amount_minor, captured_minor,
                      provider_key, provider_ref, card_last4, created_at, updated_at)
SELECT '{BIG}', {_id("1")}, 'order', ({_id("2")})::text, 'card', 'credit_card', CASE WHEN n % 10 = 0 THEN 'declined' ELSE 'paid' END,
       'INR', 1000 + n, CASE WHEN n % 10 = 0 THEN 0 ELSE 1000 + n END, 'key-' || n, 'ref-' || n, lpad((n % 10000)::text, 4, '0'),
       {_AT}, {_AT} FROM generate_series(1, {ROWS}) n;
INSERT INTO orders (merchant_id, order_id, checkout_id, channel, buyer_id, order_number, status, payment_status, payment_id,
                    payment_method, currency, lines_minor, total_minor, estimated_delivery, created_at, updated_at)
SELECT '{BIG}', {_id("2")}, {_id("3")}, 'shop', 'buyer-' || n % 1000, 'ORD-20260101-' || lpad(n::text, 8, '0'),
       CASE WHEN n % 100 = 0 THEN 'shipped' ELSE 'paid' END, 'paid', {_id("1")}, 'credit_card', 'INR', 1000 + n, 1000 + n, now(), {_AT}, {_AT}
  FROM generate_series(1, {ROWS}) n;
INSERT INTO checkouts (merchant_id, checkout_id, channel, surface, status, method, acts, order_id, payment_id, currency, total_minor,
                       customer_email, created_at, updated_at, ended_at)
SELECT '{BIG}', {_id("3")}, 'shop', 'checkout', 'completed', 'credit_card', '{{}}', {_id("2")}, {_id("1")}, 'INR', 1000 + n,
       'guest' || n || '@example.com', {_AT}, {_AT}, {_AT} FROM generate_series(1, {ROWS}) n;
INSERT INTO notice_recipients (merchant_id, order_id, payment_id, sealed, email_key, created_at)
SELECT '{BIG}', {_id("2")}, {_id("1")}, 'x', sha256(n::text::bytea), {_AT} FROM generate_series(1, {ROWS}) n;
INSERT INTO ledger_entries (merchant_id, entry_id, kind, payment_id, reference, occurred_at)
SELECT '{BIG}', {_id("4")}, 'capture', {_id("1")}, 'capture', {_AT} FROM generate_series(1, {ROWS}) n WHERE n % 10 > 0;
INSERT INTO ledger_postings (merchant_id, entry_id, line_no, debit, credit, currency, amount_minor)
SELECT '{BIG}', {_id("4")}, 1, 'provider:card', 'merchant:{BIG}', 'INR', 1000 + n FROM generate_series(1, {ROWS}) n WHERE n % 10 > 0;
INSERT INTO endpoints (merchant_id, endpoint_id, url, events, format, ordered, secret, good_at, created_at, updated_at)
VALUES ('{BIG}', '{uuid.UUID(int=5)}', 'https://shop.example/hook', '{{*}}', 'event', true, 'x', now(), now(), now());
INSERT INTO deliveries (merchant_id, endpoint_id, delivery_id, event_id, event_type, subject, sequence, status, attempts, created_at, ended_at)
SELECT '{BIG}', '{uuid.UUID(int=5)}', {_id("5")}, {_id("6")}, 'order.paid', 'order:' || ({_id("2")})::text, 1,
       CASE WHEN n % 1000 = 0 THEN 'failed' ELSE 'success' END, 1, {_AT}, {_AT} FROM generate_series(1, {ROWS}) n;
INSERT INTO events (merchant_id, event_id, subject, sequence, type, occurred_at, data, place)
SELECT '{BIG}', {_id("6")}, 'order:' || ({_id("2")})::text, 1, 'order.paid', {_AT}, '{{}}', n FROM generate_series(1, {ROWS}) n;
INSERT INTO cases (merchant_id, case_id, kind, subject, act, opened_at, closed_at, decision)
SELECT '{BIG}', {_id("7")}, 'amount_mismatch', 'payment:' || n, '', {_AT}, CASE WHEN n % 1000 > 0 THEN {_AT} END, 'done'
  FROM generate_series(1, {ROWS}) n;
INSERT INTO audit_log (merchant_id, place, who_kind, who_name, act, subject, what, at, previous, hash)
SELECT '{BIG}', n, 'staff', '7', 'order.move', 'order:' || ({_id("2")})::text, '{{}}', {_AT}, sha256('a'), sha256('b')
  FROM generate_series(1, {ROWS}) n;
ANALYZE;
"""


class Measuring:
    """Asks a database, and before each question lets PostgreSQL count what it reads for it."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.read = 0
        self.worst = ""

    async def _measure(self, sql: str, args: tuple[Any, ...]) -> None:
        [top] = await self._db.value(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", *args)
        read = rows_read(top["Plan"])
        if read > self.read:
            self.read, self.worst = read, sql

    async def rows(self, sql: str, *args: Any) -> Any:
        await self._measure(sql, args)
        return await self._db.rows(sql, *args)

    async def row(self, sql: str, *args: Any) -> Any:
        await self._measure(sql, args)
        return await self._db.row(sql, *args)

    async def value(self, sql: str, *args: Any) -> Any:
        await self._measure(sql, args)
        return await self._db.value(sql, *args)


def rows_read(plan: dict[str, Any]) -> int:
    """Rows that scans of tables and indexes have looked at, those that were thrown away too."""
    own = 0
    if "Scan" in plan["Node Type"] and plan["Node Type"] not in {"CTE Scan", "Function Scan", "Subquery Scan", "Bitmap Index Scan"}:
        read = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")
        own = plan["Actual Loops"] * sum(plan.get(name, 0) for name in read)
    return int(own) + sum(rows_read(each) for each in plan.get("Plans", ()))


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def big(database_server: DatabaseServer) -> AsyncIterator[Database]:
    """A shop with a long history, of which little is of today."""
    db = await Database.connect(database_server.fresh(), size=4, statement_timeout_s=120)
    try:
        moment = await db.value("SELECT now()::text")
        for statement in _FILL.replace("now()", f"'{moment}'::timestamptz").split(";\n"):
            if statement.strip():
                await db.execute(statement)
        yield db
    finally:
        await db.close()


@pytest.fixture
def measuring(big: Database) -> Measuring:
    return Measuring(big)


async def ids_at(big: Database, place: int) -> tuple[uuid.UUID, uuid.UUID, uuid.UUID]:
    """Order, payment and purchase at a place, from the oldest on."""
    row = await big.row(
        "SELECT order_id, payment_id, checkout_id FROM orders WHERE merchant_id = $1 AND order_number = $2",
        BIG,
        f"ORD-20260101-{place:08}",
    )
    assert row is not None
    return row["order_id"], row["payment_id"], row["checkout_id"]


async def asked(measuring: Any, typed: str, merchant: str = BIG) -> int:
    now = await clock.now(measuring._db)
    found = await desk.find(measuring, Keys(SECRET), merchant, read_question(typed, now.date()), now)
    return len(found.hits)


async def test_todays_money_reads_two_days(measuring: Any) -> None:
    day = await desk.read_day(measuring, BIG)
    assert sum(each.count for each in day.sums) == LIVELY
    assert measuring.read <= 3 * LIVELY, measuring.worst


async def test_what_waits_is_read_and_little_else(measuring: Any) -> None:
    for reach in (BIG, "small", None):
        found = await desk.list_waiting(measuring, reach, limit=1000)
        assert len(found) == (0 if reach == "small" else 101), "100 open cases, and an endpoint with dead letters"
        await desk.count_waiting(measuring, reach)
    assert measuring.read <= 1000, measuring.worst


@pytest.mark.parametrize("place", [1, ROWS // 2, ROWS - 10])
async def test_a_page_reads_a_page_wherever_it_is(big: Database, measuring: Any, place: int) -> None:
    order_id, payment_id, _ = (str(each) for each in await ids_at(big, place))
    for at in (At(), At(older=order_id), At(newer=order_id)):
        await lists.orders(measuring, BIG, at)
    for at in (At(), At(older=payment_id), At(newer=payment_id)):
        await lists.payments(measuring, BIG, at)
    await lists.deliveries(measuring, BIG, uuid.UUID(int=5), At(older=str(uuid.UUID(int=2**128 - 1))), status="failed")
    assert measuring.read <= 10_001, f"the count is the most: {measuring.worst}"


async def test_a_filter_reads_a_bounded_number(measuring: Any) -> None:
    await lists.payments(measuring, BIG, At(), status="reversed")
    await lists.orders(measuring, BIG, At(), status="delivered")
    assert measuring.read <= 20_000, measuring.worst


@pytest.mark.parametrize(
    ("typed", "found", "most"),
    [
        ("ORD-20260101-00000007", 1, 10),
        ("buyer-77", 20, 300),
        ("0007 today", 0, 2 * LIVELY),
        ("10.07", 0, 2 * LIVELY),
        ("ref-99990 today", 1, 2 * LIVELY),
        ("00000000-0000-0000-0000-000000000001", 0, 10),
    ],
)
async def test_a_search_reads_what_it_finds(
    measuring: Any, monkeypatch: pytest.MonkeyPatch, typed: str, found: int, most: int
) -> None:
    monkeypatch.setattr("kassa.desk.search._NEWEST", 100)
    assert await asked(measuring, typed) == found
    assert measuring.read <= most, f"{measuring.read}: {measuring.worst}"


async def test_an_address_is_looked_up_by_its_key(measuring: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kassa.desk.search._NEWEST", 50)
    await asked(measuring, "nobody@example.com")
    assert measuring.read <= 100, measuring.worst


async def test_a_neighbour_finds_nothing_and_reads_nothing(measuring: Any) -> None:
    for typed in ("ORD-20260101-00000007", "buyer-77", "0007 today", "ref-99990", "guest7@example.com", "10.07 INR"):
        assert await asked(measuring, typed, "small") == 0
    assert measuring.read <= 10, measuring.worst


async def test_papers_of_an_order_are_few_rows(big: Database, measuring: Any) -> None:
    order_id, payment_id, checkout_id = await ids_at(big, ROWS // 2)
    papers = await desk.read_papers(
        measuring,
        BIG,
        subjects=[f"order:{order_id}", f"payment:{payment_id}"],
        payment_ids=[payment_id],
        order_id=order_id,
        checkout_id=checkout_id,
    )
    assert (len(papers.deliveries), len(papers.acts), papers.guest) == (1, 1, "g•••@example.com")
    assert measuring.read <= 20, measuring.worst


async def test_the_systems_queues_read_what_is_due(measuring: Any) -> None:
    await desk.read_system(measuring)
    assert measuring.read <= 2_000, f"the catalogue is the most: {measuring.worst}"
