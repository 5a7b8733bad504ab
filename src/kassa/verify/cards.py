"""Invariant 12: no card number and no security code in any text that is at rest.

Every text and JSON column of every table is read. A number is a run of 13 to 19 digits (blanks and dashes between them do not
hide it) that touches no other letter or digit, begins as card numbers do, and passes the check digit. Ids that others
made (products, buyers, parcels, transactions) are left out: one in ten of them would look the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kassa.kit.database import Reader, Row
from kassa.verify.model import Breach, Question, and_more, ask

INVARIANT = 12

_OTHERS_IDS = (
    "merchant_id", "buyer_id", "user_id", "caller", "product_id", "sku", "order_id", "ref", "reference", "provider_ref",
    "external_id", "tracking_number", "subject", "ambassador_id", "payme_id", "cashbox_id", "transaction_id", "fiscal_sign",
    "receipt_id", "terminal_id", "qr_code_url",
)  # fmt: skip

_LONG = "[0-9 -]{13}"
_LOOKS_LIKE_ONE = "[0-9](?:[ -]?[0-9]){12}"
"""Two cheap looks, so that the careful one is taken at few rows."""
_NUMBER = r"(?<![0-9A-Za-z_./+#-]|[0-9] )(?:[0-9][ -]?){12,18}[0-9](?![0-9A-Za-z_/-]| [0-9]|[.][0-9])"
_BEGINS = "^(3[04-9]|4|5|6|2[2-7]|8600|9860)"
_CODE = r'"(card[_ -]?)?(cvv2?|cvc2?|cvn|csc|security[_ -]?code)" *: *"?[0-9]{3,4}"?[,}]'
_MEMBERS = '"({})": *("[^"]*"|[0-9]+)'.format("|".join((*_OTHERS_IDS, "id", "payment_id", "refund_id")))


_PAGES = 2000
"""Pages (of 8 kB) that are read by one statement."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table with the columns that hold text, those of them that hold JSON, and those that name a row."""

    name: str
    texts: tuple[str, ...]
    documents: tuple[str, ...]
    key: tuple[str, ...]
    has_merchant: bool


async def find(reader: Reader) -> list[Breach]:
    """Every row that holds what must not be kept. Only the place is told, never what was found."""
    breaches: list[Breach] = []
    for table in await tables(reader):
        for question in _questions(table, "true"):
            shown, found = await ask(reader, question)
            breaches += shown + and_more(INVARIANT, question.says, found)
    return breaches


async def pages(reader: Reader, table: Table, first: int) -> tuple[int | None, list[Question]]:
    """The questions about the pages of a table from number `first` on, and where the next ones begin, None after the last.

    A row that is written anew between two of them may move to pages that were read: it is read the next time.
    """
    size: int = await reader.value("SELECT pg_relation_size(to_regclass($1)) / current_setting('block_size')::int", table.name)
    end = first + _PAGES if first + _PAGES < size else None
    held = f"t.ctid >= '({first},0)'" + (f" AND t.ctid < '({end},0)'" if end else "")
    return end, _questions(table, held)


def _questions(table: Table, held: str) -> list[Question]:
    return [_numbers_in(table, held), *([_codes_in(table, held)] if table.documents else [])]


def _numbers_in(table: Table, held: str) -> Question:
    together = f"concat_ws(' | ', {', '.join(_column(name) for name in table.texts)})"
    sql = f"""
        SELECT {_merchant(table)}, {_row(table)}, 'column ' || c.name
          FROM "{table.name}" t CROSS JOIN LATERAL (VALUES {_named(table.texts)}) AS c (name, value)
         WHERE {held} AND {together} ~ $1 AND {together} ~ $2
           AND EXISTS (SELECT 1 FROM regexp_matches(regexp_replace(c.value, $5, '', 'g'), $3, 'g') AS m (found),
                              LATERAL (SELECT regexp_replace(m.found[1], '[ -]', '', 'g') AS digits) d
                        WHERE d.digits ~ $4
                          AND (SELECT sum(CASE WHEN place % 2 = 0 THEN digit ELSE digit * 2 / 10 + digit * 2 % 10 END) % 10
                                 FROM (SELECT n - 1 AS place, substr(reverse(d.digits), n, 1)::int AS digit
                                         FROM generate_series(1, length(d.digits)) AS n) numbered) = 0)
    """
    return Question(INVARIANT, "A card number is at rest", sql, (_LONG, _LOOKS_LIKE_ONE, f"({_NUMBER})", _BEGINS, _MEMBERS))


def _codes_in(table: Table, held: str) -> Question:
    sql = f"""
        SELECT {_merchant(table)}, {_row(table)}, 'column ' || c.name
          FROM "{table.name}" t CROSS JOIN LATERAL (VALUES {_named(table.documents)}) AS c (name, value)
         WHERE {held} AND c.value ~* $1
    """
    return Question(INVARIANT, "A card's security code is at rest", sql, (_CODE,))


def _named(columns: Sequence[str]) -> str:
    return ", ".join(f"('{name}', {_column(name)}::text)" for name in columns)


def _column(name: str) -> str:
    return f't."{name}"'


def _merchant(table: Table) -> str:
    return "t.merchant_id" if table.has_merchant else "'-'"


def _row(table: Table) -> str:
    key = ", ".join(_column(name) for name in table.key if name != "merchant_id")
    return f"left('{table.name}:' || concat_ws('/', {key}), 120)" if key else f"'{table.name}'"


async def tables(reader: Reader) -> list[Table]:
    """The tables of our schema that have a column of text or JSON, ids of others left out."""
    rows = await reader.rows(
        """
        SELECT c.relname AS name,
               array_agg(a.attname::text ORDER BY a.attnum)
                   FILTER (WHERE a.atttypid::regtype::text = ANY ($1::text[]) AND a.attname <> ALL ($2::text[])) AS texts,
               array_agg(a.attname::text ORDER BY a.attnum)
                   FILTER (WHERE a.atttypid IN ('json'::regtype, 'jsonb'::regtype)) AS documents,
               array_agg(a.attname::text ORDER BY array_position(i.indkey::int2[], a.attnum))
                   FILTER (WHERE a.attnum = ANY (i.indkey)) AS key,
               bool_or(a.attname = 'merchant_id') AS has_merchant
          FROM pg_class c
          JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
          LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
         WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
         GROUP BY c.relname ORDER BY c.relname
        """,
        ["text", "character varying", "json", "jsonb", "text[]"], list(_OTHERS_IDS),
    )  # fmt: skip
    return [_table(row) for row in rows if row["texts"]]


def _table(row: Row) -> Table:
    return Table(row["name"], tuple(row["texts"]), tuple(row["documents"] or ()), tuple(row["key"] or ()), row["has_merchant"])
