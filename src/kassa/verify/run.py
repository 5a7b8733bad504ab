"""Look at everything at one moment: one read-only snapshot, one invariant after the other."""

from __future__ import annotations

from kassa.kit import clock
from kassa.kit.context import Context
from kassa.kit.database import Reader
from kassa.verify import cards, deliveries, events, keys, money, moves, payme, purchases, stock, tokens, waiting
from kassa.verify.book import Book, compare
from kassa.verify.model import Breach, ask

INVARIANTS = (
    (1, "Every ledger entry sums to zero; each capture and each refund is booked once"),
    (2, "refunded ≤ captured ≤ amount; captured minus refunded is the ledger's balance; lines sum to the total"),
    (3, "A completed checkout has one paid payment, one order, one stock decrement per line; no money belongs nowhere"),
    (4, "Stock is never below zero, is explained by its journal, and is reserved for open checkouts only"),
    (5, "Nothing is unfinished long past its deadline, nothing stays unknown without a person"),
    (6, "Only allowed moves, versions without gaps, one story told by order, payment and checkout"),
    (7, "Events are numbered without gaps per subject, each fact has its event, and buyers and merchants are told in order"),
    (8, "One idempotency key, one effect"),
    (9, "The provider's book equals ours"),
    (11, "Tokens never below zero; one for each accepted payment, given back where there was no link"),
    (12, "No card number or security code at rest"),
)
"""What is recomputed, by its number in the product's list. 9 needs a book to compare with. 10 (no answer shows another
tenant's object) cannot be seen in tables."""

_QUESTIONS = (
    *money.QUESTIONS, *purchases.QUESTIONS, *stock.QUESTIONS, *waiting.QUESTIONS, *moves.QUESTIONS, *events.QUESTIONS,
    *deliveries.QUESTIONS, *keys.QUESTIONS, *tokens.QUESTIONS, *payme.QUESTIONS,
)  # fmt: skip


_WHOLE_TABLES = ("enable_nestloop = off", "enable_mergejoin = off", "join_collapse_limit = 1", "work_mem = '32MB'")
"""Every question reads whole tables, so each join is a hash join in the order written, whatever the planner believes of them."""


async def run(ctx: Context, *, book: Book | None = None) -> list[Breach]:
    """Every breach of every invariant, at most 50 of a kind and then their number; an empty list when all is well.

    With `book`, the provider's own record of charges is read first and compared too. Safe to run beside a busy shop.
    Raises `DatabaseAway`, and whatever the book raises when it cannot be read.
    """
    breaches: list[Breach] = []
    quiet_since = await clock.now(ctx.db)
    booked = None if book is None else await book()
    async with ctx.db.snapshot("verify") as tx:
        for setting in _WHOLE_TABLES:
            await tx.execute(f"SET LOCAL {setting}")
        for number, _ in INVARIANTS:
            breaches += await check(tx, number)
        if booked is not None:
            breaches += await compare(tx, booked, quiet_since)
    return sorted(breaches, key=lambda breach: (breach.invariant, breach.merchant_id == "*"))


async def check(reader: Reader, invariant: int) -> list[Breach]:
    """The breaches of one invariant by its number; nothing for one that tables cannot tell."""
    if invariant == cards.INVARIANT:
        return await cards.find(reader)
    return [breach for question in _QUESTIONS if question.invariant == invariant for breach in await ask(reader, question)]
