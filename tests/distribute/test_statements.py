"""Every statement of the program would be taken by a PostgreSQL that spreads the tables by merchant.

There is no such server here. So each statement is found in the program's text, parsed by the PostgreSQL that is here, and its tree is
held against what Citus 13 takes (`rules.py`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio
from tests.distribute.rules import Found, Judge
from tests.distribute.statements import DOORS, Statements, fan_outs, spoken, written
from tests.distribute.trees import Parser, catalogue

from kassa.distribute import kinds

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXCEPTIONS = {
    "w.kind = 'shop' AND w.key = ''": ("order", "a try is never counted in the shop's own measure by this statement"),
    "level.enough OR EXISTS": ("order", "a line that it wrote itself was written because there was enough, which is asked first"),
    "product_id <> $4) AS others": ("order", "the other lines of a cart are counted, and the part before has written none of them"),
    "over AS MATERIALIZED": (
        "order",
        "what it looks for is blocked, and what the part before has written no longer is, unless it may go on by now, too",
    ),
}
"""A piece of a statement that breaks a rule, the rule, and why it works all the same and what it costs. This list may only get shorter."""


class Court:
    """A connection that parses, and the judge who knows its tables."""

    def __init__(self, parser: Parser, judge: Judge) -> None:
        self.parser, self.judge = parser, judge

    async def found(self, sql: str) -> list[Found]:
        return self.judge.judge(await self.parser.tree(sql))

    async def rules(self, sql: str) -> set[str]:
        return {each.rule for each in await self.found(sql)}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def court(kassa_dsn: str) -> AsyncIterator[Court]:
    connection = await asyncpg.connect(kassa_dsn)
    try:
        known = await catalogue(connection)
        tables = [name for name in known.tables.values() if "." not in name]
        yield Court(await Parser.over(connection), Judge(known, kinds(tables)))
    finally:
        await connection.close()


@pytest.fixture(scope="module")
def said() -> Statements:
    return written()


async def test_every_statement_is_found_or_spoken(said: Statements) -> None:
    """Whoever asks with a text that depends on more than its module is called by `spoken`."""
    heard = await spoken(said)
    assert len(said.said) > 450
    assert said.open - heard == set()
    assert said.open & set(DOORS) == set()


async def test_every_statement_works_where_tables_are_spread(court: Court, said: Statements) -> None:
    await spoken(said)
    wrong = {}
    for sql, where in said.said.items():
        found = [each for each in await court.found(sql) if not _excepted(sql, each.rule)]
        if found:
            wrong[where] = [*found, sql]
    assert not wrong, "\n\n".join(f"{where}: {found}" for where, found in wrong.items())


async def test_no_exception_is_left_over(court: Court, said: Statements) -> None:
    await spoken(said)
    for piece, (rule, _) in EXCEPTIONS.items():
        judged = [await court.rules(sql) for sql in said.said if piece in sql]
        assert any(rule in rules for rules in judged), piece


async def test_what_follows_an_event_is_all_that_bootstrap_knows(said: Statements) -> None:
    """So that a part which is added there is judged here."""
    from kassa.bootstrap import _fan_out
    from kassa.settings import Settings

    settings = [{}, {"EMAIL_BACKEND": "console"}, {"EMAIL_BACKEND": "console", "USER_SERVICE_URL": "http://127.0.0.1:1"}]
    known = {part.split("$")[0][:60] for parts in fan_outs() for part in parts}
    for given in settings:
        loaded = Settings.load(False, need=(), **given)
        assert {part.split("$")[0][:60] for part in _fan_out(loaded).parts} <= known


def _excepted(sql: str, rule: str) -> bool:
    return any(piece in sql and rule == excepted for piece, (excepted, _) in EXCEPTIONS.items())


# ── the judge is a strict one ────────────────────────────────────────────────────────────────────────────────────────

GOOD = {
    "one merchant": "SELECT * FROM orders WHERE merchant_id = $1 AND order_id = $2 FOR UPDATE",
    "a chain of merchants": """
        SELECT o.order_id FROM orders o JOIN order_lines l USING (merchant_id, order_id) WHERE l.merchant_id = $1 FOR UPDATE OF o""",
    "a left join": """
        UPDATE orders o SET carrier = 'x' FROM checkouts c LEFT JOIN payments p ON p.merchant_id = c.merchant_id
         WHERE o.merchant_id = c.merchant_id AND c.merchant_id = $1""",
    "a plain read of all": "SELECT merchant_id, order_id FROM orders WHERE created_at > $1 ORDER BY created_at LIMIT 10",
    "a join of all": "SELECT count(*) FROM orders o JOIN order_lines l USING (merchant_id, order_id)",
    "a look beside": """
        SELECT m.merchant_id, e.event_id FROM merchants m CROSS JOIN LATERAL (
            SELECT event_id FROM events x WHERE x.merchant_id = m.merchant_id ORDER BY event_id DESC LIMIT 1) e""",
    "the shared ones": "SELECT k.* FROM api_key_hashes h JOIN api_keys k ON k.merchant_id = h.merchant_id AND k.key_id = h.key_id",
    "many rows of one merchant": """
        INSERT INTO order_lines (merchant_id, order_id, product_id, position, product_name, price_minor, quantity, total_minor)
        SELECT $1, $2, l, 1, 'x', 1, 1, 1 FROM unnest($3::text[]) AS l ON CONFLICT DO NOTHING""",
    "the moment of the row that is met": """
        INSERT INTO staff_tries AS t (merchant_id, kind, key, tries, since) VALUES ($1, $2, $3, 1, kassa_now())
        ON CONFLICT (merchant_id, kind, key) DO UPDATE SET since = greatest(t.since, excluded.since)""",
    "a moment made before": """
        WITH moment AS MATERIALIZED (SELECT clock_timestamp() AS at)
        UPDATE reservations r SET ended_at = moment.at FROM moment WHERE r.merchant_id = $1 AND r.checkout_id = $2""",
    "what stays here": "UPDATE verify_look SET fresh_at = kassa_now() WHERE lease_version = $1 RETURNING now()",
}
BAD = {
    "no merchant to lock": ("merchant", "SELECT * FROM orders WHERE order_id = $1 FOR UPDATE"),
    "many merchants to lock": ("merchant", "SELECT FROM merchants WHERE merchant_id = ANY ($1) ORDER BY merchant_id FOR UPDATE"),
    "no merchant to delete": ("merchant", "DELETE FROM orders WHERE created_at < kassa_now()"),
    "no merchant to change": ("merchant", "UPDATE orders SET carrier = $1 WHERE order_id = $2"),
    "either merchant": ("merchant", "UPDATE orders SET carrier = $1 WHERE merchant_id = $2 OR order_id = $3"),
    "another one beside": (
        "merchant",
        "UPDATE orders o SET carrier = 'x' FROM payments p WHERE o.merchant_id = $1 AND p.payment_id = o.payment_id",
    ),
    "concluded under a lock": (
        "merchant",
        """SELECT (SELECT count(*) FROM order_lines l WHERE l.merchant_id = o.merchant_id) FROM orders o
            WHERE merchant_id = $1 FOR UPDATE OF o""",
    ),
    "the wrong side of a left join": (
        "merchant",
        "SELECT o.* FROM orders o LEFT JOIN payments p ON o.merchant_id = p.merchant_id AND p.merchant_id = $1 FOR UPDATE OF o",
    ),
    "merchants from an array": (
        "merchant",
        "INSERT INTO cases (merchant_id, case_id) SELECT m, $2 FROM unnest($1::text[]) AS m",
    ),
    "not on the merchant": ("join", "SELECT 1 FROM orders o JOIN payments p ON p.payment_id = o.payment_id"),
    "beside, not on the merchant": (
        "join",
        "SELECT 1 FROM orders o WHERE EXISTS (SELECT FROM payments p WHERE p.payment_id = o.payment_id)",
    ),
    "with one that stays here": ("join", "SELECT 1 FROM orders o JOIN clock c ON true"),
    "a moment told": ("returning", "UPDATE orders SET carrier = $2 WHERE merchant_id = $1 RETURNING kassa_now()"),
    "a moment in a choice": (
        "update",
        "UPDATE payments SET unknown_since = coalesce(unknown_since, kassa_now()) WHERE merchant_id = $1",
    ),
    "a moment plus a column": (
        "update",
        """UPDATE payments p SET next_ask_at = kassa_now() + v.wait FROM unnest($2::interval[]) AS v (wait)
            WHERE p.merchant_id = $1""",
    ),
    "the same, hidden in a subquery": (
        "update",
        """UPDATE payments p SET next_ask_at = v.at FROM (SELECT kassa_now() + w AS at FROM unnest($2::interval[]) AS w) v
            WHERE p.merchant_id = $1""",
    ),
    "another moment for each row": ("volatile", "UPDATE reservations SET ended_at = clock_timestamp() WHERE merchant_id = $1"),
    "a moment where two meet": (
        "conflict",
        """INSERT INTO staff_tries (merchant_id, kind, key, tries, since) VALUES ($1, $2, $3, 1, kassa_now())
            ON CONFLICT (merchant_id, kind, key) DO UPDATE SET since = kassa_now()""",
    ),
    "a question among values": (
        "insert",
        """INSERT INTO staff_tries (merchant_id, kind, key, tries, since)
            VALUES ($1, $2, $3, (SELECT count(*) FROM merchants WHERE merchant_id = $1), kassa_now())""",
    ),
    "a part that sees another's row": (
        "order",
        """WITH made AS (INSERT INTO cases (merchant_id, case_id, kind, subject, opened_at) VALUES ($1, $2, 'a', 'b', now()) RETURNING 1)
           SELECT count(*) FROM cases WHERE merchant_id = $1""",
    ),
    "again and again": (
        "recursive",
        """WITH RECURSIVE a AS (SELECT 'a' AS b UNION ALL SELECT b FROM a) SELECT * FROM a JOIN orders ON merchant_id = b""",
    ),
}


@pytest.mark.parametrize("name", GOOD)
async def test_what_works_is_found_good(court: Court, name: str) -> None:
    assert await court.found(GOOD[name]) == []


@pytest.mark.parametrize("name", BAD)
async def test_what_would_be_refused_is_found(court: Court, name: str) -> None:
    rule, sql = BAD[name]
    assert rule in await court.rules(sql)
