"""The table of logs that an older installation read is a view of what happened to payments."""

from __future__ import annotations

import asyncpg
import pytest
from tests.factories import Till, settle


async def test_a_payments_story_is_told_in_its_words(till: Till) -> None:
    payment = await till.requested("A-1")
    await settle(till.shop, payment, "paid")
    rows = await till.db.rows(
        "SELECT event_type, status, payload->>'order_id' AS order_id FROM payments.payment_logs WHERE payment_id = $1 ORDER BY \"timestamp\", id",
        payment.payment_id,
    )
    assert [(row["event_type"], row["status"]) for row in rows] == [(1, 2), (2, 2), (3, 2)]
    assert {row["order_id"] for row in rows} == {"A-1"}


async def test_it_can_only_be_read(till: Till) -> None:
    await till.requested("A-1")
    for act in ("DELETE FROM payments.payment_logs", "UPDATE payments.payment_logs SET message = 'x'"):
        with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError):
            await till.db.execute(act)
