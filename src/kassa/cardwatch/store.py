"""Every question about measures of tried cards. Each is one statement whose commit does not wait for the disk.

A measure is a row: `level` is how full it was at `at`, 1 is full, below 0 it has earned room. It runs empty evenly. The row is
locked while it is counted up, so that tries that come together, in whatever process, are counted one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from kassa.cardwatch.model import MOST_EARNED
from kassa.kit.by_merchant import by_merchant
from kassa.kit.database import Database, Tx, placeholders

_KEPT = 15
"""Cards of a buyer that are remembered, so that the same one again is no other one."""

_PENDING = "1 minute"
"""After so long a silence nothing is pending any more: whoever had to say so has died."""

_LEFT = """sign(w.level) * greatest(0, abs(w.level) - greatest(0, extract(epoch FROM {now} - w.at))
           / extract(epoch FROM w.ends_at - w.at))"""
"""What is left of a level. Where a row is met by a new one, the new one's `at` is the present moment."""
_NO_WAIT = "set_config('synchronous_commit', 'off', true)"

_COUNT = f"""
WITH unhurried AS MATERIALIZED (SELECT {_NO_WAIT} AS commit),
counted AS (
    INSERT INTO card_watch AS w (merchant_id, kind, key, level, added, pending, cards, at, ends_at)
    SELECT $1, kind, key, cost, cost, 1, CASE WHEN kind = 'buyer' THEN ARRAY[$2::bytea] ELSE '{{}}' END,
           kassa_now(), kassa_now() + span
      FROM unnest($3::text[], $4::bytea[], $5::float8[], $6::interval[]) AS asked (kind, key, cost, span), unhurried
     ORDER BY kind, key
    ON CONFLICT (merchant_id, kind, key) DO UPDATE SET
        (level, added, pending, cards, at, ends_at) = (
            SELECT was.level + more.added, more.added,
                   CASE WHEN excluded.at - w.at > interval '{_PENDING}' THEN 1 ELSE w.pending + 1 END,
                   CASE WHEN w.kind <> 'buyer' OR more.added = 0 THEN w.cards
                        WHEN was.level <= 0 THEN excluded.cards
                        ELSE excluded.cards || w.cards[1:{_KEPT - 1}] END,
                   greatest(w.at, excluded.at), CASE WHEN w.at > excluded.at THEN w.ends_at ELSE excluded.ends_at END
              FROM (SELECT {_LEFT.format(now="excluded.at")} AS level) AS was,
           LATERAL (SELECT CASE WHEN was.level > 0 AND excluded.cards <@ w.cards AND w.kind = 'buyer'
                                THEN 0 ELSE excluded.added END AS added) AS more)
    RETURNING kind, level, added, pending)
SELECT kind, level, added, pending FROM counted
UNION ALL
SELECT w.kind, {_LEFT.format(now="kassa_now()")}, 0, 0 FROM card_watch w WHERE w.merchant_id = $1 AND w.kind = 'shop' AND w.key = ''
"""


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure that a try is counted in: `cost` is what a try is of the whole of it, `span` how long that takes to run empty."""

    kind: str
    key: bytes
    cost: float
    span: timedelta


@dataclass(frozen=True, slots=True)
class Level:
    """How full a measure is with this try in it, what this try is of that, and how many have no known end, this one among them."""

    kind: str
    level: float
    added: float
    pending: int


async def count(db: Database, merchant_id: str, card: bytes, measures: Sequence[Measure]) -> list[Level]:
    """Count a try of `card` in all `measures`, whether they hold it or not; also how full the shop's own is."""
    columns = zip(*((each.kind, each.key, each.cost, each.span) for each in measures), strict=True)
    rows = await db.rows(_COUNT, merchant_id, card, *map(list, columns))
    return [Level(row["kind"], row["level"], row["added"], row["pending"]) for row in rows]


async def take_back(db: Database, merchant_id: str, card: bytes, measures: Sequence[Measure]) -> None:
    """The end of a try: take `cost` of each measure out again; a buyer's has not seen this card then.

    Only an address can earn more than it used. At a cost of nothing it is only noted that the try is over.
    """
    await db.execute(
        f"""
        WITH less AS MATERIALIZED (
            SELECT w.kind, w.key, asked.cost
              FROM unnest($3::text[], $4::bytea[], $5::float8[]) AS asked (kind, key, cost)
              JOIN card_watch w ON w.merchant_id = $1 AND w.kind = asked.kind AND w.key = asked.key,
                   (SELECT {_NO_WAIT}) AS unhurried
             ORDER BY w.kind, w.key FOR UPDATE OF w)
        UPDATE card_watch w
           SET level = greatest(CASE WHEN w.kind = 'address' THEN $6::float8 ELSE 0 END, w.level - less.cost),
               pending = greatest(0, w.pending - 1),
               cards = CASE WHEN less.cost > 0 THEN array_remove(w.cards, $2::bytea) ELSE w.cards END
          FROM less WHERE w.merchant_id = $1 AND w.kind = less.kind AND w.key = less.key
        """,
        merchant_id, card, [each.kind for each in measures], [each.key for each in measures], [each.cost for each in measures],
        -MOST_EARNED,
    )  # fmt: skip


async def add(db: Database, merchant_id: str, measure: Measure) -> None:
    """Put one more into a measure."""
    await db.execute(
        f"""
        INSERT INTO card_watch AS w (merchant_id, kind, key, level, added, pending, cards, at, ends_at)
        SELECT $1, $2, $3, $4::float8, $4, 0, '{{}}', kassa_now(), kassa_now() + $5::interval FROM (SELECT {_NO_WAIT}) AS unhurried
        ON CONFLICT (merchant_id, kind, key) DO UPDATE
           SET level = {_LEFT.format(now="excluded.at")} + excluded.level, at = greatest(w.at, excluded.at),
               ends_at = CASE WHEN w.at > excluded.at THEN w.ends_at ELSE excluded.ends_at END
        """,
        merchant_id, measure.kind, measure.key, measure.cost, measure.span,
    )  # fmt: skip


async def remove(tx: Tx, merchant_id: str, kind: str, keys: Sequence[bytes]) -> None:
    """Take measures away, however full they are."""
    await tx.execute(
        "DELETE FROM card_watch WHERE merchant_id = $1 AND kind = $2 AND key = ANY ($3::bytea[])", merchant_id, kind, keys
    )


async def sweep(db: Database, limit: int = 1000) -> int:
    """Forget measures that have long run empty, at most `limit` at once; returns how many. Any number of processes may."""
    rows = await db.rows(
        "SELECT merchant_id, kind, key FROM card_watch WHERE ends_at < kassa_now() - interval '1 hour' ORDER BY ends_at LIMIT $1",
        limit,
    )
    swept = 0
    for merchant_id, old in by_merchant(rows).items():
        swept += await db.execute(
            """
            DELETE FROM card_watch w USING (
                SELECT o.kind, o.key FROM unnest($2::text[], $3::bytea[]) AS named (kind, key)
                  JOIN card_watch o ON o.merchant_id = $1 AND o.kind = named.kind AND o.key = named.key
                 WHERE o.ends_at < kassa_now() - interval '1 hour' FOR UPDATE OF o SKIP LOCKED) old
             WHERE w.merchant_id = $1 AND (w.kind, w.key) = (old.kind, old.key)
            """,
            merchant_id, *placeholders([(row["kind"], row["key"]) for row in old], 2),
        )  # fmt: skip
    return swept
