"""Time is the database's clock plus one stored shift.

`kassa_now()` in SQL is the one clock of deadlines, retries and timelines: the start of the transaction, plus a shift that is
zero in production and moved by tests and the sandbox through `kassa_move_clock`. Leases use the bare database clock, so that
a moved clock cannot break a lease. A process's own clock is never compared with a row.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from kassa.kit.database import Database
from kassa.kit.errors import Invalid, Refused

_STEP = re.compile(r"([+-]?)((?:[0-9]{1,6}[dhms])+)")
_PART = re.compile(r"([0-9]+)([dhms])")
_UNITS = {"d": timedelta(days=1), "h": timedelta(hours=1), "m": timedelta(minutes=1), "s": timedelta(seconds=1)}
_FURTHEST = timedelta(days=3660)


class ClockStep(Invalid):
    """What was given is no step of a clock."""

    code = "clock_step"


class ClockStays(Refused):
    """The clock may not be moved, or not that way."""

    code = "clock_stays"


@dataclass(frozen=True, slots=True)
class Moved:
    """The one clock: its present time, and how far it is ahead of the database's own."""

    now: datetime
    ahead: timedelta


async def now(db: Database) -> datetime:
    """The present time of the one clock, in UTC."""
    found: datetime = await db.value("SELECT kassa_now()")
    return found


async def move(db: Database, by: timedelta) -> datetime:
    """Move the clock forward by `by` (tests and sandbox only) and return the new time."""
    moved: datetime = await db.value("SELECT kassa_move_clock($1)", by)
    return moved


async def own(db: Database, *, production: bool) -> None:
    """Note that a process of this kind works here. A database in which production has worked stays one of production."""
    kind = "production" if production else "development"
    sql = "UPDATE clock SET belongs_to = $1 WHERE belongs_to IS DISTINCT FROM $1 AND belongs_to IS DISTINCT FROM 'production'"
    if await db.value("SELECT belongs_to FROM clock") not in {kind, "production"}:
        await db.execute(sql, kind)


async def shown(db: Database) -> Moved:
    """The present time and how far it was moved."""
    row = await db.row("SELECT kassa_now() AS now, shift FROM clock")
    assert row is not None
    return Moved(row["now"], row["shift"])


async def step(db: Database, text: str) -> Moved:
    """Move the clock of a development database forward by a step such as `+90s`, `+30m`, `+12h`, `+2d` or `+1h30m`.

    Twice: moved twice. Raises `ClockStep` for what is no step, and `ClockStays` where it may not be moved: backwards, and on a
    database in which production has worked, or nobody yet.
    """
    by = read_step(text)
    belongs_to = await db.value("SELECT belongs_to FROM clock")
    if belongs_to == "production":
        raise ClockStays("This database is one of production: its clock is the database's own, and is never moved.")
    if belongs_to is None:
        raise ClockStays("Nobody has worked with this database yet; start `kassa dev` on it, and its clock can be moved.")
    if (await shown(db)).ahead + by > _FURTHEST:
        raise ClockStays(f"The clock would be more than {_FURTHEST.days} days ahead; begin with an empty database.")
    await move(db, by)
    return await shown(db)


def read_step(text: str) -> timedelta:
    """The time that `text` stands for. Raises `ClockStep`, and `ClockStays` for a step backwards."""
    found = _STEP.fullmatch(text.strip())
    by = sum((int(number) * _UNITS[unit] for number, unit in _PART.findall(found[2])), timedelta()) if found else timedelta()
    if not by:
        raise ClockStep("A step is written as +90s, +30m, +12h, +2d or +1h30m.")
    if found is not None and found[1] == "-":
        raise ClockStays(
            "The clock cannot go back: what was written meanwhile would lie in the future, and deadlines that are over would"
            " come again. Begin with an empty database."
        )
    if by > _FURTHEST:
        raise ClockStep(f"A step is at most {_FURTHEST.days} days.")
    return by


def rfc3339(at: datetime) -> str:
    """Whole seconds in UTC with `Z`: `2024-01-15T10:30:00Z`."""
    return at.isoformat(timespec="seconds")[:19] + "Z"


def rfc3339_micros(at: datetime) -> str:
    """Microseconds in UTC with `Z`: `2026-01-01T00:00:02.000000Z`."""
    return at.isoformat(timespec="microseconds")[:26] + "Z"
