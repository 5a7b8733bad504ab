"""Faults that are planted on purpose: each takes away one thing that holds the promise, and histories must notice.

A fault is a patch of the running code, for the length of a block. Where the thing is a condition in a statement, the statement is changed on
its way to the memory.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

from tests.histories.memory import server

from kassa import payments
from kassa.checkout import undo
from kassa.kit.database import Tx
from kassa.payments import Verdict


@dataclass(frozen=True)
class Fault:
    """`plant` breaks it."""

    name: str
    plant: Callable[[], contextlib.AbstractContextManager[Any]]


def _said_otherwise(shape: str, instead: str) -> Callable[[], contextlib.AbstractContextManager[Any]]:
    """Every statement in which `shape` is found says `instead` in its place."""
    real, pattern = server.compiled, re.compile(shape)

    @contextlib.contextmanager
    def plant() -> Iterator[None]:
        cache: dict[str, server.Statement] = {}

        def compiled(sql: str) -> server.Statement:
            if sql not in cache:
                cache[sql] = real(pattern.sub(instead, sql))
            return cache[sql]

        with patch.object(server, "compiled", compiled):
            yield

    return plant


@contextlib.contextmanager
def _charge_again() -> Iterator[None]:
    """Silence is taken for a no: the charge is sent once more, under another key."""
    real = payments.take

    async def take(ctx: Any, payment: Any, card: Any, email: Any) -> Verdict:
        first = await real(ctx, payment, card, email)
        if first.kind != "unknown" or card is None:
            return first
        return await real(ctx, replace(payment, provider_key=f"{payment.provider_key}:again"), card, email)

    with patch.object(payments, "take", take):
        yield


@contextlib.contextmanager
def _silence_is_no() -> Iterator[None]:
    """Settled without looking again: a charge whose outcome is not known is declared declined instead of asked about."""

    async def ask(ctx: Any, payment: Any) -> Verdict:
        del ctx, payment
        return Verdict("declined", code="gave_up")

    with patch.object(payments, "ask", ask):
        yield


@contextlib.contextmanager
def _undo_forgotten() -> Iterator[None]:
    """The money of a cancelled purchase is noted as given back, and nobody gives it back."""

    async def give_back(ctx: Any, held: Any, keep_lease: Any) -> None:
        del keep_lease
        await undo._mark(ctx, held, "undone")

    with patch.object(undo, "_give_money_back", give_back):
        yield


@contextlib.contextmanager
def _answer_before_commit() -> Iterator[None]:
    """The beginning of a purchase is acted upon and answered, and its commit never comes."""
    real = Tx.commit

    async def commit(self: Any) -> None:
        if any(write.name == "checkout_begun" for write, _ in self._left):
            self._left = []
        await real(self)

    with patch.object(Tx, "commit", commit):
        yield


_FENCE = r"AND status = \$3 AND lease_version = \$4 AND updated_at = \$20"
FAULTS = (
    Fault("no fence: whoever has read a checkout writes it, whatever became of it", _said_otherwise(_FENCE, "")),
    Fault("stock is held without asking whether there is enough", _said_otherwise(r"AND s\.available >= l\.quantity", "")),
    Fault(
        "a cart is taken in whatever version it is", _said_otherwise(r"AND version = \$\d+ RETURNING cart_id", "RETURNING cart_id")
    ),
    Fault(
        "one key may be claimed twice", _said_otherwise(r"WHERE k\.expires_at <= excluded\.created_at\s+RETURNING 1", "RETURNING 1")
    ),
    Fault("a charge is repeated under another key after silence", _charge_again),
    Fault("silence counts as a no", _silence_is_no),
    Fault("the money of a cancelled purchase is forgotten", _undo_forgotten),
    Fault("the answer goes out before the commit", _answer_before_commit),
)
