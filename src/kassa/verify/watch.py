"""The watch: the invariants are looked at again and again, a little at a time, and what is wrong becomes a figure and a case.

A turn lasts about a second of every five, so a look at ten million orders takes hours and is not felt. Meanwhile whatever events
say has just changed is looked at every `every_s` seconds. How far a look is stands in the database, under a lease: one process of
many looks, and when it dies another one goes on where it was.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from kassa import cases
from kassa.kit.context import Context
from kassa.kit.database import Reader, Row
from kassa.verify import cards
from kassa.verify.model import CHECKOUTS, ORDERS, PAYMENTS, SUBJECTS, WALKS, Walk, ask
from kassa.verify.run import INVARIANTS, QUESTIONS, Found, look, look_at, reading

log = logging.getLogger("kassa.verify")

_TURN_S = 1.0
_LEASE_S = 300
"""Longer than any single question may take on a large shop; a process that was overtaken saves nothing."""
_FRESH_AT_MOST = 20_000
_BEFORE = timedelta(minutes=2)
"""Clocks of processes differ, and an event's number is older than its commit."""
_HOUSE = "1"
_SAID = 3
_SUBJECTS = {"payment": PAYMENTS, "order": ORDERS, "checkout": CHECKOUTS}
_READ: Mapping[str, Callable[[str], Any]] = {"text": str, "uuid": uuid.UUID, "bigint": int}
_WHOLE = tuple(question for question in QUESTIONS if question.walk is None)
_STEPS = " ".join([str(len(_WHOLE)), *(walk.table for walk in WALKS)])
"""What the number of a step means in this version of Kassa. A look that another version began is begun anew."""
_BY_NUMBER = tuple(number for number, _ in INVARIANTS if number != 9)


@dataclass(frozen=True, slots=True)
class WatchRules:
    """`every_s`: how often it begins anew and looks at what has just changed, in seconds; 0: not at all."""

    every_s: float = 0


@dataclass(slots=True)
class Place:
    """How far a look is. `step` counts the steps of a look, `after` is a key or a page in it; `found` and `took_s` by invariant."""

    step: int = 0
    after: Any = None
    steps: str = _STEPS
    found: dict[str, int] = field(default_factory=dict)
    said: dict[str, list[list[str]]] = field(default_factory=dict)
    fresh: dict[str, int] = field(default_factory=dict)
    """What was found meanwhile in what had just changed."""
    took_s: dict[str, float] = field(default_factory=dict)

    def add(self, found: Found) -> None:
        """Add what was found in one window."""
        for (invariant, _), tally in found.tallies.items():
            number = str(invariant)
            if tally.found:
                self.found[number] = self.found.get(number, 0) + tally.found
                said = self.said.setdefault(number, [])
                said += [[each.merchant_id, each.subject, each.text] for each in tally.shown[: _SAID - len(said)]]
        for invariant, seconds in found.seconds.items():
            self.took_s[str(invariant)] = self.took_s.get(str(invariant), 0.0) + seconds

    def as_json(self) -> dict[str, Any]:
        """As it is kept."""
        after = [str(each) for each in self.after] if isinstance(self.after, tuple) else self.after
        return {"step": self.step, "after": after} | {
            name: getattr(self, name) for name in ("steps", "found", "said", "fresh", "took_s")
        }


async def turn(ctx: Context) -> int:
    """Look for about a second, if it is time and nobody else does. 1 when a look has ended, else 0.

    What is broken becomes a case of its merchant, and a line in the log when it appears and when it is found no more. Raises
    `DatabaseAway`.
    """
    every_s = ctx.port(WatchRules).every_s
    if every_s <= 0:
        return 0
    held = await _take(ctx, every_s)
    if held is None:
        return 0
    kept = held["place"] or {}
    place = Place(**kept) if kept.get("steps") == _STEPS else Place()
    if held["began_at"] is not None and held["fresh_at"] + timedelta(seconds=every_s) <= held["now"]:
        await _look_at_fresh(ctx, held, place)
    ended = await _go_on(ctx, place)
    return await _save(ctx, held, place, every_s, ended=ended)


async def _take(ctx: Context, every_s: float) -> Row | None:
    if not await ctx.db.value("SELECT lease_until < now() AND (next_at <= now() OR place IS NOT NULL) FROM verify_look"):
        return None
    async with ctx.db.transaction("verify.take", lasting=False) as tx:
        return await tx.row(
            """
            UPDATE verify_look SET lease_until = now() + make_interval(secs => $1), lease_version = lease_version + 1
             WHERE lease_until < now() AND (next_at <= now() OR place IS NOT NULL)
            RETURNING lease_version, began_at, place, now() AS now,
                      greatest(fresh_at, now() - make_interval(secs => $2)) AS fresh_at
            """,
            float(_LEASE_S), max(600.0, 2 * every_s),
        )  # fmt: skip


async def _go_on(ctx: Context, place: Place) -> bool:
    """Go on for a turn. True when the look has come to its end."""
    began = time.monotonic()
    tables = await cards.tables(ctx.db)
    while True:
        found, step = Found(), place.step
        if step < len(_WHOLE):
            await look(ctx, None, [_WHOLE[step]], None, found)
            place.after = None
        elif step < len(_WHOLE) + len(WALKS):
            walk = WALKS[step - len(_WHOLE)]
            after = None if place.after is None else _key(walk, place.after)
            place.after = await look(ctx, walk, [each for each in QUESTIONS if each.walk is walk], after, found)
        elif step < len(_WHOLE) + len(WALKS) + len(tables):
            place.after = await _read_page(ctx, tables[step - len(_WHOLE) - len(WALKS)], place.after or 0, found)
        else:
            return True
        place.add(found)
        if place.after is None:
            place.step += 1
        if time.monotonic() - began >= _TURN_S:
            return False


def _key(walk: Walk, kept: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(_READ[kind](str(each)) for each, kind in zip(kept, walk.types, strict=True))


async def _read_page(ctx: Context, table: cards.Table, page: int, found: Found) -> int | None:
    began = time.perf_counter()
    async with reading(ctx, 60, ()) as tx:
        after, questions = await cards.pages(tx, table, page)
        for question in questions:
            found.note(question, *await ask(tx, question))
    found.took(cards.INVARIANT, time.perf_counter() - began, 0)
    return after


async def _look_at_fresh(ctx: Context, held: Row, under_way: Place) -> None:
    """What events say has changed lately, beside the long look: so that what breaks now is known now."""
    keys = await _changed(ctx, held["fresh_at"] - _BEFORE)
    found = Found()
    for walk, its in keys.items():
        if its:
            await look_at(ctx, its, [each for each in QUESTIONS if each.walk is walk], found)
    place = Place()
    place.add(found)
    async with ctx.db.transaction("verify.note") as tx:
        if not await tx.execute(
            "UPDATE verify_look SET fresh_at = $1 WHERE lease_version = $2", held["now"], held["lease_version"]
        ):
            return
        for number, breaches in place.found.items():
            # The look may be past that place: when it ends it must not take this for mended.
            under_way.fresh[number] = max(breaches, under_way.fresh.get(number, 0))
            await _note_fresh(tx, int(number), breaches)
            await _list(tx, int(number), breaches, place.said[number])


async def _changed(ctx: Context, since: datetime) -> dict[Walk, list[tuple[Any, ...]]]:
    rows = await ctx.db.rows(
        """
        SELECT DISTINCT e.merchant_id, e.subject
          FROM merchants m
         CROSS JOIN LATERAL (SELECT * FROM events n WHERE n.merchant_id = m.merchant_id AND n.event_id > $1
                              ORDER BY n.event_id DESC LIMIT $2) e
         LIMIT $2
        """,
        uuid.UUID(int=int(since.timestamp() * 1000) << 80), _FRESH_AT_MOST,
    )  # fmt: skip
    keys: dict[Walk, list[tuple[Any, ...]]] = {SUBJECTS: [(row["merchant_id"], row["subject"]) for row in rows]}
    for row in rows:
        kind, _, name = row["subject"].partition(":")
        if kind in _SUBJECTS:
            keys.setdefault(_SUBJECTS[kind], []).append((row["merchant_id"], uuid.UUID(name)))
    return keys


async def _save(ctx: Context, held: Row, place: Place, every_s: float, *, ended: bool) -> int:
    """Keep how far it is, or what was found in all. Nothing, when somebody else has taken over."""
    async with ctx.db.transaction("verify.note", lasting=ended) as tx:
        saved = await tx.execute(
            """
            UPDATE verify_look
               SET lease_until = now(), place = $2,
                   began_at = CASE WHEN $2::jsonb IS NULL THEN NULL ELSE coalesce(began_at, now()) END,
                   next_at = CASE WHEN $2::jsonb IS NULL THEN coalesce(began_at, now()) + make_interval(secs => $3) ELSE next_at END
             WHERE lease_version = $1
            """,
            held["lease_version"], None if ended else place.as_json(), float(every_s),
        )  # fmt: skip
        if not saved or not ended:
            return 0
        for number in _BY_NUMBER:
            breaches = place.found.get(str(number), 0)
            await _note(tx, number, max(breaches, place.fresh.get(str(number), 0)), place.took_s.get(str(number), 0.0))
            if breaches:
                await _list(tx, number, breaches, place.said[str(number)])
    return 1


async def _note(reader: Reader, number: int, breaches: int, took_s: float) -> None:
    """Keep what a whole look found of one invariant, and say in the log when that begins or ceases."""
    before = await reader.value("SELECT breaches FROM verify_found WHERE invariant = $1", number)
    await reader.execute(
        """
        INSERT INTO verify_found (invariant, breaches, since, looked_at, took_s)
        VALUES ($1, $2::bigint, CASE WHEN $2::bigint > 0 THEN now() END, now(), $3)
        ON CONFLICT (invariant) DO UPDATE
           SET breaches = excluded.breaches, looked_at = excluded.looked_at, took_s = excluded.took_s,
               since = CASE WHEN excluded.breaches > 0 THEN coalesce(verify_found.since, now()) END
        """,
        number, breaches, took_s,
    )  # fmt: skip
    _say(number, before or 0, breaches)


async def _note_fresh(reader: Reader, number: int, breaches: int) -> None:
    """Keep what was found in what has just changed, where it is more than is known."""
    before = await reader.value("SELECT breaches FROM verify_found WHERE invariant = $1", number)
    await reader.execute(
        """
        INSERT INTO verify_found (invariant, breaches, since) VALUES ($1, $2, now())
        ON CONFLICT (invariant) DO UPDATE
           SET breaches = greatest(verify_found.breaches, excluded.breaches), since = coalesce(verify_found.since, now())
        """,
        number, breaches,
    )  # fmt: skip
    _say(number, before or 0, breaches)


def _say(number: int, before: int, now: int) -> None:
    if now and not before:
        log.error("invariant %s is broken: %s found; see `kassa verify --only %s`", number, now, number)
    elif before and not now:
        log.warning("invariant %s: what was broken is not found any more", number)


async def _list(reader: Reader, number: int, breaches: int, said: Iterable[Iterable[str]]) -> None:
    """One case for each merchant that is concerned; it stays until a person closes it."""
    by_merchant: Mapping[str, str] = {
        merchant if merchant not in {"*", "-"} else _HOUSE: f"{subject}: {text}"[:500] for merchant, subject, text in said
    }
    for merchant, text in by_merchant.items():
        await cases.open_case(reader, merchant, "invariant_broken", f"invariant:{number}", last_answer=f"{breaches} found; {text}")


@dataclass(frozen=True, slots=True)
class Seen:
    """What the watch last saw of one invariant.

    `age_s`: since the last whole look ended, None before the first; `took_s`: the database's time for it.
    """

    invariant: int
    breaches: int
    age_s: float | None
    took_s: float


async def read_seen(reader: Reader) -> list[Seen]:
    """What the watch last saw, by invariant; nothing before its first look has ended."""
    rows = await reader.rows(
        """
        SELECT invariant, breaches, extract(epoch FROM now() - looked_at)::float8 AS age_s, took_s
          FROM verify_found ORDER BY invariant
        """
    )
    return [Seen(**dict(row.items())) for row in rows]
