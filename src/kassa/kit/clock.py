"""Time is the database's clock plus one stored shift.

`kassa_now()` in SQL is the one clock of deadlines, retries and timelines: the start of the transaction, plus a shift that is
zero in production and moved by tests and the sandbox through `kassa_move_clock`. Leases use the bare database clock, so that
a moved clock cannot break a lease. A process's own clock is never compared with a row.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from kassa.kit.database import Database


async def now(db: Database) -> datetime:
    """The present time of the one clock, in UTC."""
    found: datetime = await db.value("SELECT kassa_now()")
    return found


async def move(db: Database, by: timedelta) -> datetime:
    """Move the clock forward by `by` (tests and sandbox only) and return the new time."""
    moved: datetime = await db.value("SELECT kassa_move_clock($1)", by)
    return moved


def rfc3339(at: datetime) -> str:
    """Whole seconds in UTC with `Z`: `2024-01-15T10:30:00Z`."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339_micros(at: datetime) -> str:
    """Microseconds in UTC with `Z`: `2026-01-01T00:00:02.000000Z`."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
