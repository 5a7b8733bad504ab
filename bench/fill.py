"""`python -m bench.fill --orders N`: a database as full as after years of trade, in minutes.

Finished purchases that Kassa itself made are read row by row and repeated N times by the server: new ids (UUIDv7, in the order of
time), new keys, the same amounts, so that `kassa verify` is clean afterwards. What a purchase is made of is read from the
tables as they are; a column that comes later is copied along. One statement writes all rows of some thousand copies; indexes are
set aside meanwhile (`bench/aside.py`), so nobody else may use the database.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from bench.aside import indexes_aside, look_after

AT_ONCE = 20_000
AT_WORK = 2
_DAYS = 80
_SETTINGS = "SET session_replication_role = replica; SET synchronous_commit = off; SET jit = off"
_EVENTS_AT_MOST = 100
"""Of one purchase: so far apart are the places of two purchases in the feed."""
_OF_A_PURCHASE = {
    "carts": "cart_id = $4",
    "checkouts": "checkout_id = $1",
    "checkout_steps": "checkout_id = $1",
    "orders": "order_id = $2",
    "order_lines": "order_id = $2",
    "order_timeline": "order_id = $2",
    "payments": "payment_id = $3",
    "refunds": "payment_id = $3",
    "refund_lines": "refund_id IN (SELECT refund_id FROM refunds WHERE payment_id = $3)",
    "ledger_entries": "payment_id = $3",
    "ledger_postings": "entry_id IN (SELECT entry_id FROM ledger_entries WHERE payment_id = $3)",
    "reservations": "checkout_id = $1",
    "stock_journal": "kind IN ('sold', 'returned') AND left(reference, 36) = $1::text",
    "event_counters": "subject IN ('checkout:' || $1::uuid, 'order:' || $2::uuid, 'payment:' || $3::uuid)",
    "events": "subject IN ('checkout:' || $1::uuid, 'order:' || $2::uuid, 'payment:' || $3::uuid)",
    "idempotency_keys": "subject IN ($1::text, $2::text)",
    "bought_lines": "order_id = $2",
    "payme_transactions": "payment_id = $3",
    "notice_recipients": "order_id = $2",
}
"""Table to the rows of one purchase; $1 is its checkout, $2 its order, $3 its payment, $4 its cart."""


@dataclass
class Purchase:
    """One that was made for real: its rows by table, and what must be new in each copy."""

    began: Any
    rows: dict[str, list[dict[str, tuple[str, str | None]]]]
    first_place: int
    """Behind all places of its merchant's feed."""
    new: dict[str, str] = field(default_factory=dict)
    """Text to the SQL that stands for it in the n-th copy."""


def main() -> int:
    """Fill the database at --dsn (an ended purchase must be in it), or print that there is nothing to repeat."""
    parser = argparse.ArgumentParser(prog="python -m bench.fill", description=__doc__)
    parser.add_argument("--dsn", required=True, help="the database to fill; its user may set session_replication_role")
    parser.add_argument("--orders", type=int, required=True, help="how many purchases to add")
    parser.add_argument("--json", action="store_true", help="print what was added as JSON")
    given = parser.parse_args()
    added, seconds = asyncio.run(fill(given.dsn, given.orders))
    if given.json:
        print(json.dumps({"orders": given.orders, "seconds": round(seconds, 1), "rows": added}))
    else:
        print(f"{given.orders} purchases, {sum(added.values())} rows in {seconds:.0f} s")
    return 0


async def fill(dsn: str, orders: int, *, templates: int = 20, at_once: int = AT_ONCE) -> tuple[dict[str, int], float]:
    """Repeat up to `templates` of the newest ended purchases until there are `orders` more; rows by table, and seconds."""
    began = time.monotonic()
    connections = [await asyncpg.connect(dsn, statement_cache_size=1000) for _ in range(AT_WORK)]
    try:
        first = connections[0]
        for each in connections:
            await each.execute(_SETTINGS)
        purchases = await _purchases(first, templates)
        if not purchases:
            raise SystemExit("bench.fill: there is no ended purchase to repeat; buy something first")
        done = await first.fetchval("SELECT count(*) FROM orders WHERE order_number LIKE 'FILL-%'")
        last = done + orders
        added: Counter[str] = Counter()
        spans = [(n, min(n + at_once, last)) for n in range(done, last, at_once)]
        async with indexes_aside(connections, list(_OF_A_PURCHASE)):
            await asyncio.gather(*(_work(each, spans, purchases, last, added, orders) for each in connections))
        await _settle_up(first, purchases, done, last)
        await look_after(connections, list(_OF_A_PURCHASE))
        return dict(added), time.monotonic() - began
    finally:
        for each in connections:
            await each.close()


async def _work(
    connection: Any, spans: list[tuple[int, int]], purchases: Sequence[Purchase], last: int, added: Counter[str], orders: int
) -> None:
    """Take span after span; a statement is prepared once and serves all spans."""
    statements = [_copies(purchase, number, len(purchases)) for number, purchase in enumerate(purchases)]
    while spans:
        begin, end = spans.pop(0)
        async with connection.transaction():
            for number, purchase in enumerate(purchases):
                first = begin + (number - begin) % len(purchases)
                await connection.execute(statements[number], first, end - 1, last)
                for table, rows in purchase.rows.items():
                    added[table] += len(rows) * len(range(first, end, len(purchases)))
        if sys.stderr.isatty() or begin % (AT_ONCE * 10) == 0:
            print(f"  {added['checkouts']} of {orders}", file=sys.stderr, flush=True)


async def _purchases(connection: Any, most: int) -> list[Purchase]:
    keys = await connection.fetch(
        """
        SELECT c.merchant_id, c.checkout_id, c.order_id, c.payment_id, c.cart_id, c.created_at, o.order_number
          FROM checkouts c JOIN orders o USING (merchant_id, order_id)
         WHERE c.status IN ('completed', 'undone') AND o.order_number NOT LIKE 'FILL-%'
         ORDER BY c.created_at DESC LIMIT $1
        """,
        most,
    )
    return [await _purchase(connection, key) for key in keys]


async def _purchase(connection: Any, key: Any) -> Purchase:
    ids = (key["checkout_id"], key["order_id"], key["payment_id"], key["cart_id"])
    rows: dict[str, list[dict[str, tuple[str, str | None]]]] = {}
    for table, where in _OF_A_PURCHASE.items():
        given = [(f"${n + 1}", each) for n, each in enumerate(ids)]
        text = where
        for place, each in given:
            text = text.replace(place, f"'{each}'" if each else "NULL")
        columns = await connection.fetch(
            "SELECT attname AS name, format_type(atttypid, atttypmod) AS type FROM pg_attribute"
            " WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''",
            table,
        )
        shown = ", ".join(f"{c['name']}::text AS {c['name']}" for c in columns)
        types = {c["name"]: c["type"] for c in columns}
        found = await connection.fetch(f"SELECT {shown} FROM {table} WHERE merchant_id = $1 AND {text}", key["merchant_id"])
        rows[table] = [{name: (types[name], row[name]) for name in types} for row in found]
    last = await connection.fetchval("SELECT coalesce(max(place), 0) FROM events WHERE merchant_id = $1", key["merchant_id"])
    purchase = Purchase(key["created_at"], rows, last)
    for number, name in enumerate(sorted(_ids_in(rows))):
        purchase.new[name] = f"(p1 || '-7{number:03x}' || p2)"
    purchase.new[key["order_number"]] = "('FILL-' || n)"
    for number, row in enumerate(rows["idempotency_keys"]):
        purchase.new[str(row["key"][1])] = f"('fill-{number}-' || md5(n::text))"
    for number, row in enumerate(rows["payme_transactions"]):
        purchase.new[str(row["payme_id"][1])] = f"left(md5('{number}-' || n), 24)"
    return purchase


def _ids_in(rows: dict[str, list[dict[str, tuple[str, str | None]]]]) -> set[str]:
    """Every id that one of the purchase's own rows is called by."""
    own = {"cart_id", "checkout_id", "order_id", "payment_id", "refund_id", "entry_id", "event_id", "line_id", "transaction_id"}
    return {
        value
        for table in rows.values()
        for row in table
        for name, (kind, value) in row.items()
        if name in own and kind == "uuid" and value is not None
    } - {str(uuid.UUID(int=0))}


def _copies(purchase: Purchase, number: int, of: int) -> str:
    """One statement that writes the copies n = $1 to $2 whose turn is this purchase's; $3 is the last of all."""
    parts = [
        f"""
        numbered AS MATERIALIZED (
            SELECT n, at, left(hex, 8) || '-' || right(hex, 4) AS p1, '-8000-' || lpad(to_hex(n), 12, '0') AS p2
              FROM (SELECT n, at, lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') AS hex
                      FROM (SELECT n, now() - make_interval(days => {_DAYS}) * (($3::bigint - n)::float8 / $3) AS at
                              FROM generate_series($1::bigint, $2::bigint, {of}) AS n OFFSET 0) timed OFFSET 0) stamped)
        """
    ]
    for table, rows in purchase.rows.items():
        for place, row in enumerate(rows):
            values = ", ".join(_value(purchase, table, name, kind, value, place) for name, (kind, value) in row.items())
            parts.append(f"{table}_{place} AS (INSERT INTO {table} ({', '.join(row)}) SELECT {values} FROM numbered)")
    return f"WITH {', '.join(parts)} SELECT {number}"


def _value(purchase: Purchase, table: str, name: str, kind: str, value: str | None, place: int) -> str:
    if (table, name) == ("events", "place"):
        return f"{purchase.first_place} + n * {_EVENTS_AT_MOST} + {place + 1}"
    if value is None:
        return f"NULL::{kind}"
    if name == "buyer_id":
        return "('buyer-' || n)"
    if kind == "timestamp with time zone":
        return f"at + ({_literal(value)}::timestamptz - {_literal(purchase.began.isoformat())}::timestamptz)"
    if name.endswith("_ms") and value != "0":
        return f"floor(extract(epoch FROM at) * 1000)::bigint + {int(value) - int(purchase.began.timestamp() * 1000)}"
    return f"({_with_new(purchase, value)})::{kind}"


def _with_new(purchase: Purchase, value: str) -> str:
    """The text with everything in it that must be new in each copy."""
    pieces: list[str] = []
    rest = value
    while rest:
        found = [(rest.find(old), -len(old), old) for old in purchase.new if old in rest]
        if not found:
            break
        at, _, old = min(found)
        pieces += [_literal(rest[:at])] if at else []
        pieces.append(purchase.new[old])
        rest = rest[at + len(old) :]
    if rest or not pieces:
        pieces.append(_literal(rest))
    return " || ".join(pieces)


def _literal(text: str) -> str:
    return "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


async def _settle_up(connection: Any, purchases: Sequence[Purchase], done: int, last: int) -> None:
    """What is counted elsewhere: the shelf gets back what the copies sold, and the feed the places of their events."""
    moved: dict[tuple[str, str, str], int] = {}
    for number, purchase in enumerate(purchases):
        copies = sum(1 for n in range(last) if n % len(purchases) == number) - sum(
            1 for n in range(done) if n % len(purchases) == number
        )
        for row in purchase.rows["stock_journal"]:
            key = (str(row["merchant_id"][1]), str(row["channel"][1]), str(row["product_id"][1]))
            sign = 1 if row["kind"][1] == "sold" else -1
            moved[key] = moved.get(key, 0) + sign * int(str(row["quantity"][1])) * copies
    for (merchant, channel, product), pieces in moved.items():
        if pieces:
            await connection.execute(
                "INSERT INTO stock_journal (merchant_id, channel, product_id, kind, reference, quantity, at)"
                " VALUES ($1, $2, $3, 'adjusted', gen_random_uuid()::text, $4, now())",
                merchant, channel, product, pieces,
            )  # fmt: skip
    await connection.execute(
        """
        INSERT INTO feeds (merchant_id, last, relayed) SELECT merchant_id, max(place), max(place) FROM events GROUP BY merchant_id
        ON CONFLICT (merchant_id) DO UPDATE SET last = excluded.last, relayed = excluded.relayed
        """
    )


if __name__ == "__main__":
    sys.exit(main())
