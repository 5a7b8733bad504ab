"""Today's money by hour and provider, against yesterday's: what came in, what went back, what was declined.

Days and hours are of UTC by the one clock. Captures and refunds are read from the books, declines from the payments.
"""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

from kassa.desk.model import TODAY, YESTERDAY, Day, Sum
from kassa.kit.database import Reader, Row

_BEFORE = timedelta(minutes=2)
"""Clocks of processes differ, and an entry's id is older than its commit."""
_A_DAY = timedelta(days=1)

# Ids of entries begin with the real time of their making, so a range of ids is a range of time, looked up in the primary key.
# The range is named for both tables: each is then read in its order, and they are merged.
_BOOKED = """
    SELECT date_trunc('hour', e.occurred_at) AS hour, CASE e.kind WHEN 'capture' THEN 'captured' ELSE 'refunded' END AS kind,
           split_part(CASE WHEN starts_with(p.debit, 'provider:') THEN p.debit ELSE p.credit END, ':', 2) AS provider,
           p.currency, e.occurred_at < $4 AS by_now, sum(p.amount_minor)::bigint AS amount_minor, count(*) AS count
      FROM ledger_entries e JOIN ledger_postings p USING (merchant_id, entry_id)
     WHERE e.merchant_id = $1 AND p.merchant_id = $1 AND e.entry_id >= $2 AND p.entry_id >= $2 AND e.occurred_at >= $3
     GROUP BY 1, 2, 3, 4, 5
"""
_DECLINED = """
    SELECT date_trunc('hour', created_at) AS hour, 'declined' AS kind, coalesce(routed_to, provider) AS provider, currency,
           created_at < $3 AS by_now, sum(amount_minor)::bigint AS amount_minor, count(*) AS count
      FROM payments WHERE merchant_id = $1 AND created_at >= $2 AND status = 'declined'
     GROUP BY 1, 2, 3, 4, 5
"""


async def read_day(reader: Reader, merchant_id: str) -> Day:
    """The money of a merchant's day so far and of the day before.

    A decline counts in the hour in which its payment was begun.
    """
    clock = await reader.row("SELECT kassa_now() AS now, kassa_now() - now() AS ahead")
    assert clock is not None
    now: datetime = clock["now"]
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    since, this_time = today - _A_DAY, now - _A_DAY
    booked = await reader.rows(_BOOKED, merchant_id, first_id(since - clock["ahead"] - _BEFORE), since, this_time)
    declined = await reader.rows(_DECLINED, merchant_id, since, this_time)
    return Day(now, [_sum(row, today) for row in (*booked, *declined)])


def first_id(at: datetime) -> uuid.UUID:
    """A bound below every id that was made at `at` or later."""
    return uuid.UUID(int=max(0, int(at.timestamp() * 1000)) << 80)


def _sum(row: Row, today: datetime) -> Sum:
    is_today = row["hour"] >= today
    return Sum(
        day=TODAY if is_today else YESTERDAY,
        hour=row["hour"].hour,
        kind=row["kind"],
        provider=row["provider"],
        currency=row["currency"],
        by_now=is_today or row["by_now"],
        amount_minor=row["amount_minor"],
        count=row["count"],
    )
