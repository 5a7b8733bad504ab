"""Messages from elsewhere that come under an id of their own, and that must not have their effect twice.

An id is remembered after its effect, so a process that dies between has the message heard again, and the effect must bear that.
"""

from __future__ import annotations

from collections.abc import Sequence

from kassa.kit.by_merchant import by_merchant
from kassa.kit.database import Database, placeholders

KEPT_DAYS = 30


async def known(db: Database, merchant_id: str, source: str, message_ids: Sequence[str]) -> set[str]:
    """Those of these ids that were remembered."""
    rows = await db.rows(
        "SELECT message_id FROM heard_messages WHERE merchant_id = $1 AND source = $2 AND message_id = ANY ($3)",
        merchant_id, source, list(message_ids),
    )  # fmt: skip
    return {row["message_id"] for row in rows}


async def remember(db: Database, merchant_id: str, source: str, message_ids: Sequence[str]) -> None:
    """Note that these had their effect. Noted twice, the second changes nothing."""
    await db.execute(
        """
        INSERT INTO heard_messages (merchant_id, source, message_id, heard_at)
        SELECT $1, $2, unnest($3::text[]), now() ON CONFLICT DO NOTHING
        """,
        merchant_id, source, list(message_ids),
    )  # fmt: skip


async def sweep(db: Database, limit: int = 1000) -> int:
    """Forget what was heard more than 30 days ago, at most `limit` at a time; how many that were."""
    rows = await db.rows(
        f"""
        SELECT merchant_id, source, message_id FROM heard_messages
         WHERE heard_at < now() - interval '{KEPT_DAYS} days' ORDER BY heard_at LIMIT $1
        """,
        limit,
    )
    swept = 0
    for merchant_id, old in by_merchant(rows).items():
        swept += await db.execute(
            """
            DELETE FROM heard_messages h USING unnest($2::text[], $3::text[]) AS old (source, message_id)
             WHERE h.merchant_id = $1 AND h.source = old.source AND h.message_id = old.message_id
            """,
            merchant_id, *placeholders([(row["source"], row["message_id"]) for row in old], 2),
        )  # fmt: skip
    return swept
