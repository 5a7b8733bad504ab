"""Look at everything, in short glances: walk after walk, window after window, question after question.

Each question of a window is one statement and sees one moment; between two of them the database is free of us. So neither the
memory nor the age of the oldest snapshot grows with the shop.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from dataclasses import dataclass, field

from kassa.kit import clock
from kassa.kit.context import Context
from kassa.kit.database import DatabaseAway, Tx
from kassa.verify import audit, cards, deliveries, events, keys, money, moves, payme, purchases, stock, tokens, waiting
from kassa.verify.book import Book, compare
from kassa.verify.model import ALL, SHOWN, WALKS, Breach, Question, Walk, Window, and_more, ask, next_bound

INVARIANTS = (
    (1, "Every ledger entry sums to zero; each capture and each refund is booked once"),
    (2, "refunded ≤ captured ≤ amount; captured minus refunded is the ledger's balance; lines sum to the total"),
    (3, "A completed checkout has one paid payment, one order, one stock decrement per line; no money belongs nowhere"),
    (4, "Stock is never below zero, is explained by its journal, and is reserved for open checkouts only"),
    (5, "Nothing is unfinished long past its deadline, nothing stays unknown without a person"),
    (6, "Only allowed moves, versions without gaps, one story told by order, payment and checkout; the audit log is a chain"),
    (7, "Events are numbered without gaps per subject, each fact has its event, and buyers and merchants are told in order"),
    (8, "One idempotency key, one effect"),
    (9, "The provider's book equals ours"),
    (11, "Tokens never below zero; one for each accepted payment, given back where there was no link"),
    (12, "No card number or security code at rest"),
)
"""What is recomputed, by its number in the product's list. 9 needs a book to compare with. 10 (no answer shows another
tenant's object) cannot be seen in tables."""

QUESTIONS = (
    *money.QUESTIONS, *purchases.QUESTIONS, *stock.QUESTIONS, *waiting.QUESTIONS, *moves.QUESTIONS, *events.QUESTIONS,
    *deliveries.QUESTIONS, *keys.QUESTIONS, *tokens.QUESTIONS, *payme.QUESTIONS, *audit.QUESTIONS,
)  # fmt: skip

AT_ONCE = 5000
"""Keys of a window. A window's rows fit into a few megabytes, and a question about them takes some 50 ms."""
_AT_MOST_S = 60
_WHOLE_AT_MOST_S = 1800
_TRIES = 3
_BY_KEYS = (
    "enable_seqscan = off",
    "enable_hashjoin = off",
    "enable_mergejoin = off",
    "join_collapse_limit = 1",
    "work_mem = '16MB'",
)
"""Every join leads from few keys to few rows by an index, in the order written, whatever the planner believes of the tables."""
_WHOLE = ("enable_seqscan = on", "work_mem = '32MB'")


@dataclass(slots=True)
class Tally:
    """What was found of one question so far: the first breaches, how many there are, and what it took."""

    shown: list[Breach] = field(default_factory=list)
    found: int = 0


@dataclass(slots=True)
class Found:
    """What a look has found and cost so far, by invariant. `rows` are keys and rows that were looked at."""

    tallies: dict[tuple[int, str], Tally] = field(default_factory=dict)
    other: list[Breach] = field(default_factory=list)
    seconds: dict[int, float] = field(default_factory=dict)
    rows: dict[int, int] = field(default_factory=dict)

    def note(self, question: Question, shown: Iterable[Breach], found: int) -> None:
        """Add what a question found in one window."""
        tally = self.tallies.setdefault((question.invariant, question.says), Tally())
        tally.shown += [*shown][: SHOWN - len(tally.shown)]
        tally.found += found

    def add(self, other: Found) -> None:
        """Add what was found in another window."""
        for name, tally in other.tallies.items():
            mine = self.tallies.setdefault(name, Tally())
            mine.shown += tally.shown[: SHOWN - len(mine.shown)]
            mine.found += tally.found
        for invariant, seconds in other.seconds.items():
            self.took(invariant, seconds, other.rows[invariant])

    def took(self, invariant: int, seconds: float, rows: int) -> None:
        """Add what a question cost."""
        self.seconds[invariant] = self.seconds.get(invariant, 0.0) + seconds
        self.rows[invariant] = self.rows.get(invariant, 0) + rows

    def breaches(self) -> list[Breach]:
        """Of each question the first 50 and then their number, in the order of the invariants."""
        found = list(self.other)
        for (invariant, says), tally in self.tallies.items():
            found += sorted(tally.shown, key=lambda each: (each.merchant_id, each.subject, each.text))
            found += and_more(invariant, says, tally.found)
        return sorted(found, key=lambda breach: (breach.invariant, breach.merchant_id == "*"))


Progress = Callable[[str, Found], None]
"""Told the name of what is looked at, and what was found so far; after each window."""


async def run(ctx: Context, *, book: Book | None = None) -> list[Breach]:
    """Every breach of every invariant, at most 50 of a kind and then their number; an empty list when all is well."""
    return (await sweep(ctx, book=book)).breaches()


async def sweep(
    ctx: Context,
    *,
    book: Book | None = None,
    only: Collection[int] = (),
    pace: float = 1.0,
    progress: Progress | None = None,
    at_once: int = AT_ONCE,
) -> Found:
    """Look for every breach of every invariant, or of those in `only`.

    `pace` is the share of the time in which it may ask, above 0 and up to 1; the rest it leaves to others. With `book`, the
    provider's own record of charges is read first and compared too. Safe to run beside a busy shop. Raises `DatabaseAway`, and
    whatever the book raises when it cannot be read.
    """
    found = Found()
    quiet_since = await clock.now(ctx.db)
    booked = None if book is None else await book()
    wanted = [question for question in QUESTIONS if not only or question.invariant in only]
    for walk in (None, *WALKS):
        asked = [question for question in wanted if question.walk is walk]
        if asked:
            await _go(ctx, walk, asked, found, pace, progress, at_once)
    if not only or cards.INVARIANT in only:
        await _read_texts(ctx, found, pace, progress)
    if booked is not None and (not only or 9 in only):
        async with reading(ctx, _WHOLE_AT_MOST_S, ()) as tx:
            found.other += await compare(tx, booked, quiet_since)
    return found


async def check(reader: Tx, invariant: int, at_once: int = AT_ONCE) -> list[Breach]:
    """The breaches of one invariant by its number, as a transaction sees them; nothing for one that tables cannot tell."""
    found = Found()
    for question in QUESTIONS:
        if question.invariant != invariant:
            continue
        after = None
        while True:
            upto = await next_bound(reader, question.walk, after, at_once) if question.walk else None
            found.note(question, *await ask(reader, question, Window(after, upto) if question.walk else ALL))
            if upto is None:
                break
            after = upto
    if invariant == cards.INVARIANT:
        found.other += await cards.find(reader)
    return found.breaches()


async def _go(
    ctx: Context, walk: Walk | None, asked: list[Question], found: Found, pace: float, progress: Progress | None, at_once: int
) -> None:
    """All windows of one walk, and in each all its questions, while the window's rows are still in the server's memory."""
    after = None
    while True:
        async with _politely(pace):
            upto = await look(ctx, walk, asked, after, found, at_once)
        if progress is not None:
            progress(walk.name if walk else "sums", found)
        if upto is None:
            return
        after = upto


async def look(
    ctx: Context,
    walk: Walk | None,
    asked: Iterable[Question],
    after: tuple[object, ...] | None,
    found: Found,
    at_once: int = AT_ONCE,
) -> tuple[object, ...] | None:
    """One window of one walk; returns where the next one begins, None after the last. Tried again when the connection breaks."""
    for tries in range(1, _TRIES + 1):
        window_found = Found()
        try:
            upto = await _look(ctx, walk, asked, after, window_found, at_once)
        except DatabaseAway:
            if tries == _TRIES:
                raise
            await asyncio.sleep(tries)
            continue
        found.add(window_found)
        return upto
    raise AssertionError("unreachable")


async def _look(
    ctx: Context, walk: Walk | None, asked: Iterable[Question], after: tuple[object, ...] | None, found: Found, at_once: int
) -> tuple[object, ...] | None:
    async with reading(ctx, _AT_MOST_S if walk else _WHOLE_AT_MOST_S, _BY_KEYS if walk else _WHOLE) as tx:
        upto = await next_bound(tx, walk, after, at_once) if walk else None
        for question in asked:
            began = time.perf_counter()
            found.note(question, *await ask(tx, question, Window(after, upto)))
            found.took(question.invariant, time.perf_counter() - began, at_once if upto else 0)
    return upto


async def look_at(ctx: Context, keys_: Collection[tuple[object, ...]], asked: Iterable[Question], found: Found) -> None:
    """Questions of one walk about these of its keys alone."""
    window = Window(keys=tuple(keys_))
    async with reading(ctx, _AT_MOST_S, _BY_KEYS) as tx:
        for question in asked:
            began = time.perf_counter()
            found.note(question, *await ask(tx, question, window))
            found.took(question.invariant, time.perf_counter() - began, len(keys_))


async def _read_texts(ctx: Context, found: Found, pace: float, progress: Progress | None) -> None:
    for table in await cards.tables(ctx.db):
        page: int | None = 0
        while page is not None:
            began = time.perf_counter()
            async with _politely(pace), reading(ctx, _AT_MOST_S, ()) as tx:
                page, questions = await cards.pages(tx, table, page)
                for question in questions:
                    found.note(question, *await ask(tx, question))
            found.took(cards.INVARIANT, time.perf_counter() - began, 0)
            if progress is not None:
                progress(f"texts of {table.name}", found)


@contextlib.asynccontextmanager
async def reading(ctx: Context, at_most_s: int, settings: Iterable[str]) -> AsyncIterator[Tx]:
    """A transaction that cannot write. Each statement sees its own moment, so none of them holds back vacuuming for the others."""
    async with ctx.db.transaction("verify") as tx:
        await tx.execute("SET TRANSACTION READ ONLY")
        await tx.execute(f"SET LOCAL statement_timeout = '{at_most_s}s'")
        for setting in settings:
            await tx.execute(f"SET LOCAL {setting}")
        yield tx


@contextlib.asynccontextmanager
async def _politely(pace: float) -> AsyncIterator[None]:
    """Rest after the block for as long as keeps the work to its share of the time."""
    began = time.perf_counter()
    yield
    if pace < 1:
        await asyncio.sleep((time.perf_counter() - began) * (1 - pace) / pace)
