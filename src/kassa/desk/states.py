"""What is in doubt, owed or held past its time, as figures over all merchants: how much of each, and since when.

Each is asked by an index that holds nothing but what waits, so it costs what there is of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from kassa.desk.model import STATES, State
from kassa.kit.database import Reader

# A hold is overdue when its checkout is, too: while a buyer is about to pay at Payme both wait.
_STATES = """
    SELECT 'payment' AS subject, status, count(*) AS count, extract(epoch FROM kassa_now() - min(unknown_since))::float8 AS age_s
      FROM payments WHERE unknown_since IS NOT NULL AND status IN ('unknown', 'parked') GROUP BY status
    UNION ALL
    SELECT 'refund', 'pending', count(*), extract(epoch FROM kassa_now() - min(created_at))::float8
      FROM refunds WHERE next_at IS NOT NULL AND status = 'pending'
    UNION ALL
    SELECT 'refund', 'parked', count(*), extract(epoch FROM kassa_now() - min(created_at))::float8
      FROM refunds WHERE status = 'parked'
    UNION ALL
    SELECT 'reservation', 'overdue', count(*), extract(epoch FROM kassa_now() - min(r.held_until))::float8
      FROM checkouts c JOIN reservations r USING (merchant_id, checkout_id)
     WHERE c.next_at <= kassa_now() AND r.state = 'held' AND r.held_until < kassa_now()
    UNION ALL
    SELECT 'case', kind, count(*), extract(epoch FROM kassa_now() - min(opened_at))::float8
      FROM cases WHERE closed_at IS NULL GROUP BY kind
"""


async def read_states(reader: Reader) -> Sequence[State]:
    """The present figures. Each of `STATES` is there, with 0 where there is nothing of it, and each kind of open case."""
    found = {
        (row["subject"], row["status"]): State(row["subject"], row["status"], row["count"], max(0.0, row["age_s"] or 0.0))
        for row in await reader.rows(_STATES)
    }
    for subject, statuses in STATES.items():
        for status in statuses:
            found.setdefault((subject, status), State(subject, status, 0, 0.0))
    return list(found.values())
